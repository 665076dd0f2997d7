package appsandbooks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// DefaultBaseURL is Apple's service.
const DefaultBaseURL = "https://vpp.itunes.apple.com/mdm/v2"

// Version is the SDK's version, sent in the User-Agent.
const Version = "0.1.0"

// Client speaks for one organizational unit: the one of its content token. It
// is immutable and safe for concurrent use; make it with [NewClient] (the zero
// value is of no use) and keep it.
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
	idle    func() // closes the idle connections of the client's own transport
	limiter Limiter
	opts    options
	hub     *notificationHub
	life    context.Context // ends with Close
	end     context.CancelCauseFunc
}

type service struct{ client *Client }

// NewClient makes a client for the organizational unit of a content token: the
// whole content of the .vpptoken file. It makes no request. An error wraps
// [ErrInvalid].
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
			return nil, invalidf("a nil Option")
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
	idle := func() {}
	if o.http == nil {
		own := defaultTransport()
		o.http, idle = &http.Client{Transport: own}, own.CloseIdleConnections
	}
	hc := *o.http
	if o.timeout != 0 {
		hc.Timeout = o.timeout
	} else if hc.Timeout == 0 {
		hc.Timeout = defaultTimeout
	}

	c := &Client{base: base, idle: idle, limiter: o.limiter, hub: newNotificationHub()}
	c.life, c.end = context.WithCancelCause(context.Background())
	// A function and not the transport: what dumps values, however deep, would
	// find the token in the buffers of its connections.
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

// Close ends what runs in the background and closes the idle connections of
// the client's own transport; one given by [WithHTTPClient] is left alone. The
// client is of no use afterwards: calls end with [ErrClosed].
func (c *Client) Close() {
	if c.end == nil {
		return // a zero Client
	}
	c.end(ErrClosed)
	c.Config.waitForRefresh()
	c.hub.close()
	c.idle()
}

// Format implements [fmt.Formatter]: a client prints as its base URL.
func (c *Client) Format(f fmt.State, _ rune) {
	if c == nil || c.base == nil {
		fmt.Fprint(f, "appsandbooks.Client(<nil>)")
		return
	}
	fmt.Fprintf(f, "appsandbooks.Client(%s)", c.base)
}
