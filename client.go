package appsandbooks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// DefaultBaseURL is the base URL of Apple's service. [WithBaseURL] sets another one.
const DefaultBaseURL = "https://vpp.itunes.apple.com/mdm/v2"

// Version is the version of the SDK. The client sends it in the User-Agent header.
const Version = "0.1.0"

// A Client calls the service for one organizational unit: the unit of its content
// token. Create it once with [NewClient] and reuse it. The zero Client cannot be
// used. A Client is immutable and safe for concurrent use.
type Client struct {
	Assets                  *AssetsService
	Assignments             *AssignmentsService
	Config                  *ConfigService
	Status                  *StatusService
	Subscriptions           *SubscriptionsService
	SubscriptionAdmins      *SubscriptionAdminsService
	SubscriptionAssignments *SubscriptionAssignmentsService
	Users                   *UsersService

	base    *url.URL
	send    func(context.Context, *transport.Request) *transport.Failure
	limiter Limiter
	opts    options
	hub     *notificationHub
	polls   *poller
	claims  *operationClaims
	unit    *atomic.Pointer[string] // uId of the latest answer that had one; nil before the first one

	closeIdle   func()          // closeIdle closes the idle connections, if the client has its own transport
	lifetime    context.Context // canceled by Close
	endLifetime context.CancelCauseFunc
}

type service struct{ client *Client }

// NewClient returns a client for the organizational unit of a content token. The stoken
// is the whole content of the .vpptoken file. NewClient sends no request. Its error
// wraps [ErrInvalid].
func NewClient(stoken string, opts ...Option) (*Client, error) {
	o := options{
		base:         DefaultBaseURL,
		userAgent:    "appsandbooks-go/" + Version,
		maxAttempts:  5,
		minBackoff:   500 * time.Millisecond,
		maxBackoff:   30 * time.Second,
		maxPause:     5 * time.Minute,
		firstPoll:    5 * time.Second,
		pollInterval: 30 * time.Second,
		stallTime:    10 * time.Minute,
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, invalidf("an Option is nil")
		}
		if err := opt(&o); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	base, err := parseBaseURL(o.base)
	if err != nil {
		return nil, err
	}
	switch {
	case o.tokenless:
		o.token = func(context.Context) (string, error) { return "", ErrNoToken }
	case o.token != nil:
		source := o.token
		o.token = func(ctx context.Context) (string, error) {
			t, err := source(ctx)
			if err != nil {
				return "", fmt.Errorf("token source: %w", err)
			}
			return cleanToken(t)
		}
	default:
		text, err := cleanToken(stoken)
		if err != nil {
			return nil, err
		}
		o.token = func(context.Context) (string, error) { return text, nil }
	}
	if o.limiter == nil {
		o.limiter = NewLimiter()
	}
	closeIdle := func() {}
	if o.http == nil {
		own := defaultTransport()
		o.http, closeIdle = &http.Client{Transport: own}, own.CloseIdleConnections
	}
	hc := *o.http
	if o.timeout != 0 {
		hc.Timeout = o.timeout
	} else if hc.Timeout == 0 {
		hc.Timeout = defaultTimeout
	}

	c := &Client{base: base, closeIdle: closeIdle, limiter: o.limiter, hub: newNotificationHub()}
	c.polls, c.unit = newPoller(c), new(atomic.Pointer[string])
	c.claims = new(operationClaims)
	c.lifetime, c.endLifetime = context.WithCancelCause(context.Background())
	// Keep a function, not the transport: a program that prints a Client with all its
	// fields would print the token from the buffers of the connections.
	c.send = transport.New(transport.Config{
		HTTPClient:  &hc,
		UserAgent:   o.userAgent,
		Token:       o.token,
		Inspect:     inspectAnswer,
		Limiter:     o.limiter,
		MaxAttempts: o.maxAttempts,
		MinBackoff:  o.minBackoff,
		MaxBackoff:  o.maxBackoff,
		MaxPause:    o.maxPause,
		MaxBody:     32 << 20,
		MaxError:    1 << 20,
		Logger:      o.logger,
		Trace:       o.tracer(),
		Lifetime:    c.lifetime,
	}).Do
	o.http = nil
	c.opts = o
	s := service{c}
	c.Assets = (*AssetsService)(&s)
	c.Assignments = (*AssignmentsService)(&s)
	c.Config = &ConfigService{service: s}
	c.Status = (*StatusService)(&s)
	c.Subscriptions = (*SubscriptionsService)(&s)
	c.SubscriptionAdmins = (*SubscriptionAdminsService)(&s)
	c.SubscriptionAssignments = (*SubscriptionAssignmentsService)(&s)
	c.Users = (*UsersService)(&s)
	return c, nil
}

// Close closes the client. A closed client sends no more requests: calls return
// [ErrClosed]. Close ends at once what waits: a call that waits for the pace, for a pause
// or for its next attempt, [Operation.Wait] and [StatusService.Wait]. Close cancels a read of
// the service configuration, but no other request in progress; the answers of those requests
// still count. Close closes the idle connections of the client's own transport, and not those of a client from
// [WithHTTPClient].
func (c *Client) Close() {
	if c.endLifetime == nil {
		return // a zero Client
	}
	// Do not wait for the calls in progress: one of them may run the hook that calls Close.
	c.endLifetime(ErrClosed)
	c.hub.close()
	c.closeIdle()
}

// Format implements [fmt.Formatter]. A client prints as its base URL, without the
// token.
func (c *Client) Format(f fmt.State, _ rune) {
	if c == nil || c.base == nil {
		fmt.Fprint(f, "appsandbooks.Client(<nil>)")
		return
	}
	fmt.Fprintf(f, "appsandbooks.Client(%s)", c.base)
}
