package appsandbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// Do calls an endpoint that the SDK has no method for. Authentication, pace, retries
// and errors are the same as for all calls. The path is relative to the base URL, such
// as "assets/associate". Do sends in as JSON, unless it is nil, and decodes the answer
// into out, unless it is nil. GET and HEAD are reads and are retried like reads. All
// other methods are writes: they are not repeated when their result is unknown
// ([ErrAmbiguous]).
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	class := transport.Write
	if method == http.MethodGet || method == http.MethodHead {
		class = transport.Read
	}
	return c.do(ctx, request{method: method, path: path, query: query, in: in, class: class}, out)
}

// request is one call of an endpoint.
type request struct {
	method  string
	path    string // path of the endpoint, relative to the base URL
	key     string // the endpoint's key in the urls of the service configuration; "" if there is no such key
	query   url.Values
	in      any // the value that is encoded as the JSON body; nil for no body
	class   transport.Class
	page    bool // true for a page read; only five page reads may be in progress at once
	turn    transport.Turn
	noToken bool          // the endpoint needs no token
	grace   time.Duration // how long an attempt in progress may continue after the context ends
	secret  string        // a secret in the body, which errors and logs must not contain
	unsure  *bool         // set to true if an attempt ended with an internal error of the service; nil if nobody asks
	claim   bool          // true for a claim of the organizational unit, which is allowed after a takeover
}

// do sends the request r and decodes the answer into out, unless out is nil.
func (c *Client) do(ctx context.Context, r request, out any) error {
	if c.lifetime.Err() != nil {
		return fmt.Errorf("%s %s: %w", r.method, r.path, ErrClosed)
	}
	u, err := c.url(r)
	if err != nil {
		return err
	}
	var body []byte
	if r.in != nil {
		if body, err = json.Marshal(r.in); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	generation, err := c.opts.guard.checkWrite(r)
	if err != nil {
		return fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if r.class == transport.Write {
		c.hub.noteWrite()
	}
	var decode func([]byte) error
	if out != nil {
		decode = func(answer []byte) error { return r.decode(answer, out) }
	}
	sent := &transport.Request{
		Method: r.method,
		URL:    u,
		Name:   r.path,
		Body:   body,
		Class:  r.class,
		Page:   r.page,
		Turn:   r.turn,
		Auth:   !(r.noToken && c.opts.tokenless),
		Decode: decode,
		Grace:  r.grace,
		Secret: r.secret,
		IDs:    func() []string { return r.ids(body) },
	}
	if hasOneAttempt(ctx) {
		sent.MaxAttempts, sent.NoPause = 1, true
	}
	failure := c.send(ctx, sent)
	if r.unsure != nil {
		*r.unsure = sent.Unsure
	}
	if failure != nil {
		return c.failure(r, failure)
	}
	if m, ok := out.(interface{ meta() *Meta }); ok {
		c.noteUnit(m.meta())
		c.opts.guard.observe(generation, m.meta())
	}
	return nil
}

// ids returns the ids of users and devices in a request, which errors and logs must
// not contain.
func (r request) ids(body []byte) (ids []string) {
	ids = append(ids, r.query["clientUserId"]...)
	ids = append(ids, r.query["serialNumber"]...)
	var in struct {
		ClientUserIDs []string      `json:"clientUserIds"`
		SerialNumbers []string      `json:"serialNumbers"`
		Users         []UserRequest `json:"users"`
	}
	_ = json.Unmarshal(body, &in) // ignore the error: the caller of Do can send a body of any form
	for _, u := range in.Users {
		ids = append(ids, u.ClientUserID, u.Email, u.ManagedAppleID)
	}
	return append(append(ids, in.ClientUserIDs...), in.SerialNumbers...)
}

// url returns the URL of an endpoint: the one from the service configuration, or the
// base URL with the path of the endpoint.
func (c *Client) url(r request) (*url.URL, error) {
	u := c.Config.discoveredURL(r.key)
	if u == nil {
		path := strings.TrimPrefix(r.path, "/")
		for segment := range strings.SplitSeq(path, "/") {
			if segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "?#\\%") {
				return nil, fmt.Errorf("%w: invalid path %q: empty segments, . and .., and the characters ?#\\%% are not allowed", ErrInvalid, r.path)
			}
		}
		u = c.base.JoinPath(path)
	}
	u.RawQuery = r.query.Encode()
	return u, nil
}

// withOneAttempt returns a context for calls that must end soon. Such a call makes one attempt
// and does not wait for the end of a pause: its [*Error] then has the RetryAfter. It still waits
// for the pace.
func withOneAttempt(ctx context.Context) context.Context {
	return context.WithValue(ctx, withOneAttemptKey{}, true)
}

// withOneAttemptKey is the key of the value in a context that withOneAttempt sets.
type withOneAttemptKey struct{}

// hasOneAttempt reports whether a context is from withOneAttempt.
func hasOneAttempt(ctx context.Context) bool {
	marked, _ := ctx.Value(withOneAttemptKey{}).(bool)
	return marked
}

// withLifetime returns a context that also ends when the client is closed, with the cause
// ErrClosed.
func (c *Client) withLifetime(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.lifetime, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// contextError returns the error of a context together with its cause. It returns only
// ErrClosed if the client was closed: the caller has canceled nothing.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	switch {
	case cause == ErrClosed: //nolint:errorlint // an error that wraps ErrClosed is the caller's own cause
		return ErrClosed
	case errors.Is(err, cause):
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// post sends in as the JSON body of a POST and returns out, the decoded answer.
func post[T any](ctx context.Context, c *Client, path string, in any, class transport.Class, out *T) (*T, error) {
	err := c.do(ctx, request{method: http.MethodPost, path: path, in: in, class: class}, out)
	if err != nil {
		return nil, err
	}
	return out, nil
}
