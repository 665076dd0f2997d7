package appsandbookstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// appleURL is where the real service lives.
	appleURL = "https://vpp.itunes.apple.com" + basePath

	// basePath is the path below which all endpoints are.
	basePath = "/mdm/v2"

	// maxBody is the size above which a request body is not read.
	maxBody = 8 << 20

	// parallelPages is how many pages a unit may read at once.
	parallelPages = 5

	// pollInterval is the least time between two questions for the status
	// of an event that is PENDING.
	pollInterval = 30 * time.Second

	// resendAfter is how long an event may be PENDING before the service's
	// documentation advises to send the request again.
	resendAfter = 10 * time.Minute
)

// A Server is an in-process stand-in for the App, Book, and Subscription
// Management service. Use it in memory through [Server.Client] or
// [Server.Transport], over TCP after [Server.Listen], or as an
// [http.Handler].
//
// All methods are safe for concurrent use. In a bubble of testing/synctest,
// create the server inside the bubble.
type Server struct {
	opts   options
	random random

	// ctx ends, and wg counts what Close waits for.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	recorder *recorder
	faults   faultSet

	// delivery sends notifications; ownTransport is set when it is ours to
	// clean up.
	notificationTransport http.RoundTripper
	ownTransport          *http.Transport

	mu            sync.Mutex
	closed        bool
	limits        Limits
	units         []*Unit
	tokensByValue map[string]*token // by the whole token
	tokensByInner map[string]*token // by the inner "token" field
	http          *http.Server
	listener      net.Listener
}

// NewServer returns a server with one unit, [Server.Unit]. It returns an error
// if an option is nil or has an invalid value. The server listens on no port
// until [Server.Listen] is called. A server that never listens and never sends
// notifications needs no Close.
func NewServer(opts ...Option) (*Server, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts:                  o,
		random:                random(o.seed),
		recorder:              newRecorder(o.requestLog),
		limits:                o.limits,
		tokensByValue:         make(map[string]*token),
		tokensByInner:         make(map[string]*token),
		notificationTransport: o.notificationTransport,
	}
	s.faults.random = s.random
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.notificationTransport == nil {
		s.ownTransport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
		s.notificationTransport = s.ownTransport
	}
	s.NewUnit("Headquarters")
	return s, nil
}

// Listen serves plain HTTP on a TCP address until [Server.Close]. An empty
// address means a free port of the loopback interface. Addresses that are
// not loopback are refused, except with [WithAnyAddress].
func (s *Server) Listen(addr string) error {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if !s.opts.anyAddress {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("appsandbookstest: listen: %w", err)
		}
		if !isLoopback(host) {
			return fmt.Errorf("appsandbookstest: listen: %q is not a loopback address", host)
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("appsandbookstest: listen: %w", http.ErrServerClosed)
	case s.listener != nil:
		return errors.New("appsandbookstest: listen: already listening")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("appsandbookstest: listen: %w", err)
	}
	s.listener = l
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ConnState:         s.connState,
	}
	s.wg.Go(func() { _ = s.http.Serve(l) }) // ends with Close
	return nil
}

// connState counts the goroutines that net/http runs for connections.
func (s *Server) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.wg.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.wg.Done()
	}
}

// isLoopback reports whether a host without port is on this machine only.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// URL returns the base URL of the API, including "/mdm/v2": that of the
// listener once [Server.Listen] was called, and that of the real service
// before, which is what clients in memory see.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return appleURL
	}
	return "http://" + s.listener.Addr().String() + basePath
}

// Close stops the listener, all timers and all deliveries, and waits for
// every goroutine of the server. Afterwards the server refuses connections,
// while its ledger can still be read. Close may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	units, srv := s.units, s.http
	s.mu.Unlock()

	if first {
		s.cancel()
		for _, u := range units {
			u.close()
		}
		if srv != nil {
			_ = srv.Close() // the listener is gone either way
		}
	}
	s.wg.Wait()
	if s.ownTransport != nil {
		s.ownTransport.CloseIdleConnections()
	}
}

// enter counts a goroutine that Close has to wait for; it reports false once
// the server is closed. Every true is followed by a call of s.wg.Done.
func (s *Server) startWork() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// Unit returns the default unit.
func (s *Server) Unit() *Unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.units[0]
}

// NewUnit adds an organizational unit with a token, an id and a library of
// its own.
func (s *Server) NewUnit(name string) *Unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := newUnit(s, len(s.units), name)
	s.units = append(s.units, u)
	u.token = s.issueToken(u)
	return u
}

// HoldEvents keeps the events of all units PENDING, those already accepted
// and those to come, until it is called with false. See [Unit.HoldEvents].
func (s *Server) HoldEvents(hold bool) {
	s.mu.Lock()
	units := s.units
	s.mu.Unlock()
	for _, u := range units {
		u.HoldEvents(hold)
	}
}

// AddFault adds a fault. Of several faults that match a request, the one
// added first occurs.
func (s *Server) AddFault(f Fault) { s.faults.add(f) }

// ClearFaults removes all faults.
func (s *Server) ClearFaults() { s.faults.clear() }

// Requests returns the last requests in the order in which they arrived.
func (s *Server) Requests() []Request { return s.recorder.allRequests() }

// ResetRequests forgets all requests and violations recorded so far. What
// the rules have to remember (when a client may come back, for instance)
// stays.
func (s *Server) ResetRequests() { s.recorder.reset() }

// Violations returns how the rules of conduct were broken.
func (s *Server) Violations() []Violation { return s.recorder.allViolations() }

// Deliveries returns the last attempts at delivering notifications,
// including test notifications, in the order in which they ended.
func (s *Server) Deliveries() []Delivery { return s.recorder.allDeliveries() }

// wait blocks for d. It ends early with the reason why ctx ended, or when
// the server is closed.
func (s *Server) wait(ctx context.Context, d time.Duration) error {
	if err := context.Cause(ctx); err != nil || d <= 0 {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return http.ErrServerClosed
	}
}
