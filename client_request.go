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

// Do calls an endpoint that the SDK has no method for, with the same
// authentication, pacing, retries and errors. The path is relative to the base
// URL ("assets/associate"). In is sent as JSON unless it is nil; the answer is
// decoded into out unless that is nil. A GET is a read and is repeated freely;
// any other method is a write, and is not repeated when its fate is unknown.
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
	path    string // relative to the base URL
	key     string // in the service configuration's urls; "" when it has none
	query   url.Values
	in      any
	class   transport.Class
	page    bool // counts among the parallel page reads
	turn    transport.Turn
	noToken bool          // needs no token
	grace   time.Duration // for an attempt under way when the context ends
	secret  string        // in the body; kept out of errors and logs
	claim   bool          // takes the organizational unit over
}

func (c *Client) do(ctx context.Context, r request, out any) error {
	if c.life.Err() != nil {
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
	era, err := c.opts.guard.checkWrite(r)
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
	failure := c.send(ctx, &transport.Request{
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
	})
	if failure != nil {
		return c.failure(r, failure)
	}
	if m, ok := out.(interface{ meta() *Meta }); ok {
		c.opts.guard.observe(era, m.meta())
	}
	return nil
}

// ids are the users and devices that a request names.
func (r request) ids(body []byte) (ids []string) {
	ids = append(ids, r.query["clientUserId"]...)
	ids = append(ids, r.query["serialNumber"]...)
	var in struct {
		ClientUserIDs []string      `json:"clientUserIds"`
		SerialNumbers []string      `json:"serialNumbers"`
		Users         []UserRequest `json:"users"`
	}
	_ = json.Unmarshal(body, &in) // the caller's own, of Do, can have any form
	for _, u := range in.Users {
		ids = append(ids, u.ClientUserID, u.Email, u.ManagedAppleID)
	}
	return append(append(ids, in.ClientUserIDs...), in.SerialNumbers...)
}

// url is the discovered URL of an endpoint, or the base URL and its path.
func (c *Client) url(r request) (*url.URL, error) {
	u := c.Config.discoveredURL(r.key)
	if u == nil {
		path := strings.TrimPrefix(r.path, "/")
		for segment := range strings.SplitSeq(path, "/") {
			if segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "?#\\%") {
				return nil, fmt.Errorf("%w: the path %q is not plain", ErrInvalid, r.path)
			}
		}
		u = c.base.JoinPath(path)
	}
	u.RawQuery = r.query.Encode()
	return u, nil
}

func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

func post[T any](ctx context.Context, c *Client, path string, in any, class transport.Class, out *T) (*T, error) {
	err := c.do(ctx, request{method: http.MethodPost, path: path, in: in, class: class}, out)
	if err != nil {
		return nil, err
	}
	return out, nil
}
