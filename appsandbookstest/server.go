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
	// appleURL is the base URL of the service.
	appleURL = "https://vpp.itunes.apple.com" + basePath

	// basePath is the common part of the paths of all endpoints.
	basePath = "/mdm/v2"

	// maxBody is the size in bytes of the largest request body.
	maxBody = 8 << 20
)

// A Server is a stand-in for the App, Book, and Subscription Management
// service. Use it in memory through [Server.Client] or [Server.Transport], over
// TCP after [Server.Listen], or as an [http.Handler].
//
// All methods are safe for concurrent use. In a bubble of testing/synctest,
// create the server inside the bubble.
type Server struct {
	opts   options
	random random

	// Close cancels ctx and waits for the goroutines of wg.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	recorder *recorder
	faults   faultSet

	// notificationTransport delivers notifications. ownTransport is the same
	// transport if the server created it, and nil otherwise. Close closes its
	// idle connections.
	notificationTransport http.RoundTripper
	ownTransport          *http.Transport

	mu            sync.Mutex
	closed        bool
	limits        Limits
	units         []*Unit
	tokensByValue map[string]*token // by the content token
	tokensByInner map[string]*token // tokens by the field "token" inside the content token
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

// Listen serves plain HTTP on a TCP address until [Server.Close] is called. An
// empty address means a free port of the loopback interface. Addresses that are
// not loopback are an error unless [WithAnyAddress] is set. A server listens on
// one address at most.
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
	s.wg.Go(func() { _ = s.http.Serve(l) }) // Close ends it
	return nil
}

// connState counts the goroutines of net/http that serve connections, so that
// Close waits for them.
func (s *Server) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.wg.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.wg.Done()
	}
}

// isLoopback reports whether a host, without a port, is "localhost" or a
// loopback address.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// URL returns the base URL of the API, which ends with "/mdm/v2". Before
// [Server.Listen] it is the URL of Apple's service, which clients in memory
// use. After Listen, it is the URL of the listener.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return appleURL
	}
	return "http://" + s.listener.Addr().String() + basePath
}

// Close stops the listener, all timers and all deliveries, and waits for every
// goroutine of the server. After that the server refuses connections, but its
// units can still be read. Close may be called more than once.
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
			_ = srv.Close() // the listener is closed even if Close returns an error
		}
	}
	s.wg.Wait()
	if s.ownTransport != nil {
		s.ownTransport.CloseIdleConnections()
	}
}

// startWork adds the caller to the goroutines that Close waits for. It returns
// false if the server is closed. If it returns true, the caller must call
// s.wg.Done.
func (s *Server) startWork() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// Unit returns the unit that [NewServer] created.
func (s *Server) Unit() *Unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.units[0]
}

// NewUnit adds an organizational unit with its own token, uId and library.
func (s *Server) NewUnit(name string) *Unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := newUnit(s, len(s.units), name)
	s.units = append(s.units, u)
	u.token = s.issueToken(u)
	return u
}

// HoldEvents calls [Unit.HoldEvents] for every unit that exists.
func (s *Server) HoldEvents(hold bool) {
	s.mu.Lock()
	units := s.units
	s.mu.Unlock()
	for _, u := range units {
		u.HoldEvents(hold)
	}
}

// AddFault adds a fault. If several faults match a request, only the one that
// was added first occurs.
func (s *Server) AddFault(f Fault) { s.faults.add(f) }

// ClearFaults removes all faults.
func (s *Server) ClearFaults() { s.faults.clear() }

// Requests returns the most recent requests in the order of their arrival.
// [WithRequestLog] limits their number.
func (s *Server) Requests() []Request { return s.recorder.allRequests() }

// ResetRequests deletes the recorded requests and violations. The rules of
// conduct still apply to what happened before: for example, a Retry-After that
// the server sent earlier still holds.
func (s *Server) ResetRequests() { s.recorder.reset() }

// Violations returns every violation of a rule of conduct, in the order in
// which they happened. See [Rule].
func (s *Server) Violations() []Violation { return s.recorder.allViolations() }

// Deliveries returns the most recent attempts to deliver a notification, with
// test notifications, in the order in which they ended. [WithRequestLog] limits
// their number.
func (s *Server) Deliveries() []Delivery { return s.recorder.allDeliveries() }

// wait blocks for the duration d. It returns an error early if ctx ends or the
// server is closed.
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
