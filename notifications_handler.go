package appsandbooks

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// NotificationHandler is the [http.Handler] that receives notifications. Make
// it with [NewNotificationHandler].
//
// It answers
//
//   - 200 to a notification whose hooks returned nil, now or at an earlier
//     delivery, and to the service's test;
//   - 401 without the right secret, before it has read the body;
//   - 400, 405, 408 and 413 to what is no notification;
//   - 500 and 503 to everything that is worth another delivery.
//
// A notification that is delivered twice at the same time is not acknowledged
// before its hooks have returned.
//
// A handler bounds what it reads and how much it does at once. Only its
// http.Server can bound how long headers take: set ReadHeaderTimeout and
// IdleTimeout, or use [NotificationHandler.Serve].
type NotificationHandler struct {
	hook   func(ctx context.Context, n *Notification) error // nil when there is none
	opts   notificationOptions
	places chan struct{}

	change  sync.Mutex // of secrets
	secrets atomic.Pointer[[]digest]

	seen handlerCounts
}

// handlerCounts tell Register what reached the handler.
type handlerCounts struct{ requests, refused, tests atomic.Uint64 }

// tally is the state of the counts at one moment.
type handlerSnapshot struct{ requests, refused, tests uint64 }

func (c *handlerCounts) snapshot() handlerSnapshot {
	return handlerSnapshot{c.requests.Load(), c.refused.Load(), c.tests.Load()}
}

// digest is the SHA-256 of a secret: what is compared has always the same length.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// in compares with all of them, in a time that does not depend on which matches.
func (d digest) in(all []digest) bool {
	found := 0
	for i := range all {
		found |= subtle.ConstantTimeCompare(d[:], all[i][:])
	}
	return found == 1
}

// NewNotificationHandler returns a handler that calls hook with each notification,
// except the service's tests: also with types newer than the SDK, and with payloads
// that it cannot read. hook may be nil.
//
// When hook returns an error or panics, the handler answers 5xx, and the service
// delivers the notification again: up to three times in all, within one to five
// minutes. When hook returns nil, the notification is acknowledged and not delivered
// again, so store it before returning. In rare cases hook gets a notification that
// it has already accepted: when the answer was lost, or what the [Deduper] remembers.
//
// Hooks run in parallel and in any order, and must not change the notification.
// Their context ends after the hook timeout ([WithNotificationTimeouts]), and not
// when the service closes the connection.
//
// The handler needs [WithNotificationSecrets] or [WithRequestSecrets]; without
// either, the error is [ErrInvalid], as for any option with a bad value.
func NewNotificationHandler(hook func(ctx context.Context, n *Notification) error, opts ...NotificationOption) (*NotificationHandler, error) {
	o := notificationOptions{
		maxBody: 256 << 10, maxConcurrent: 64, readTimeout: 10 * time.Second, hookTimeout: 30 * time.Second,
		logger: slog.New(slog.DiscardHandler),
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, invalidf("a nil NotificationOption")
		}
		if err := opt(&o); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if len(o.secrets) == 0 && o.requestSecrets == nil {
		return nil, invalidf("a notification handler needs a secret")
	}
	if o.deduper == nil {
		o.deduper = NewDeduper()
	}
	h := &NotificationHandler{hook: hook, opts: o, places: make(chan struct{}, o.maxConcurrent)}
	h.secrets.Store(&[]digest{})
	for _, s := range o.secrets {
		if err := h.AddSecret(s); err != nil {
			return nil, err
		}
	}
	h.opts.secrets = nil
	return h, nil
}

// AddSecret accepts one more secret. An empty one, or one that no bearer token
// can be (see [Registration]), is [ErrInvalid].
func (h *NotificationHandler) AddSecret(s Secret) error {
	secret := s.Reveal()
	if secret == "" {
		return invalidf("the secret of a notification handler is empty")
	}
	if !bearerForm.MatchString(secret) || secret == redacted {
		return invalidf("the secret of a notification handler must consist of letters, digits and -._~+/, with = at the end")
	}
	h.change.Lock()
	defer h.change.Unlock()
	if d, old := digestOf(secret), *h.secrets.Load(); !d.in(old) {
		all := append(slices.Clone(old), d)
		h.secrets.Store(&all)
	}
	return nil
}

// accepts tells whether a secret opens the handler by itself.
func (h *NotificationHandler) accepts(s Secret) bool {
	return digestOf(s.Reveal()).in(*h.secrets.Load())
}

// RemoveSecret no longer accepts a secret. The service may deliver what it
// could not deliver before with the secret of that time, so let the previous
// one stand for 15 minutes after it was replaced. A handler without secrets
// accepts nothing.
func (h *NotificationHandler) RemoveSecret(s Secret) {
	h.change.Lock()
	defer h.change.Unlock()
	d := digestOf(s.Reveal())
	all := slices.DeleteFunc(slices.Clone(*h.secrets.Load()), func(o digest) bool { return o == d })
	h.secrets.Store(&all)
}

// Format implements [fmt.Formatter]: nothing of a handler is for printing.
func (h *NotificationHandler) Format(f fmt.State, _ rune) {
	fmt.Fprint(f, "appsandbooks.NotificationHandler")
}

// Serve receives notifications on l, at any path, with a server that has time
// and size limits. When ctx ends, it accepts nothing new, waits until the
// requests under way are answered, and returns nil; after ReadTimeout and
// HookTimeout together it waits no longer and returns an error. It always
// closes l.
//
// The service delivers to https only: give a listener of crypto/tls, or put a
// proxy in front that passes the Authorization header on.
func (h *NotificationHandler) Serve(ctx context.Context, l net.Listener) error {
	bound := h.opts.readTimeout + h.opts.hookTimeout
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      2*bound + 30*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(h.opts.logger.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		_ = srv.Close()
		return fmt.Errorf("receiving notifications: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		_ = srv.Close()
		err = fmt.Errorf("receiving notifications: not all are answered: %w", err)
	}
	<-served //nolint:errcheck // it is http.ErrServerClosed
	return err
}

// ServeHTTP implements [http.Handler].
func (h *NotificationHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.places == nil { // not made by NewNotificationHandler
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h.seen.requests.Add(1)
	in := delivery{NotificationHandler: h, r: r, w: w, control: http.NewResponseController(w)}
	// In force before anything is read, also for what the server reads after us.
	in.deadline = in.control.SetReadDeadline(time.Now().Add(h.opts.readTimeout)) == nil
	in.answer(in.serve())
}

// refusal is an answer other than 2xx; nil stands for 200.
type refusal struct {
	status int
	why    string
	err    error
}

// inbound is one request.
type delivery struct {
	*NotificationHandler
	r        *http.Request
	w        http.ResponseWriter
	control  *http.ResponseController
	deadline bool          // is set; a writer that knows none is somebody's test
	n        *Notification // once it is read
}

func (in *delivery) answer(no *refusal) {
	if no == nil {
		in.w.WriteHeader(http.StatusOK)
		return
	}
	level, attrs := slog.LevelWarn, []slog.Attr{slog.Int("status", no.status), slog.String("reason", no.why)}
	if no.status >= 500 {
		level = slog.LevelError
	}
	if no.err != nil {
		attrs = append(attrs, slog.Any("error", no.err))
	}
	if in.n != nil {
		attrs = append(attrs, slog.String("notificationId", in.n.ID),
			slog.String("notificationType", string(in.n.Type)), slog.String("uId", in.n.UID))
	}
	in.opts.logger.LogAttrs(in.r.Context(), level, "notification refused", attrs...)

	header := in.w.Header()
	switch no.status {
	case http.StatusUnauthorized:
		in.seen.refused.Add(1)
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	}
	if in.n == nil {
		header.Set("Connection", "close") // there may be more of the body
	}
	http.Error(in.w, http.StatusText(no.status), no.status)
}

// serve does everything but the answer.
func (in *delivery) serve() (no *refusal) {
	defer func() {
		if v := recover(); v != nil {
			// The value may hold anything: its type will do.
			in.opts.logger.LogAttrs(in.r.Context(), slog.LevelError, "panic in a notification hook",
				slog.String("type", fmt.Sprintf("%T", v)), slog.String("stack", string(debug.Stack())))
			no = &refusal{http.StatusInternalServerError, "a hook panicked", nil}
		}
	}()
	if in.r.Method != http.MethodPost {
		return &refusal{http.StatusMethodNotAllowed, "not a POST", nil}
	}
	secret, no := in.authenticate()
	if no != nil {
		return no
	}
	if !in.acquirePlace() {
		return &refusal{http.StatusServiceUnavailable, "too many notifications at once", nil}
	}
	defer in.releasePlace()
	body, no := in.readBody()
	if no != nil {
		return no
	}
	n, err := parseNotification(body)
	if err != nil {
		return &refusal{http.StatusBadRequest, "not a notification", err}
	}
	in.n = n

	ctx, cancel := context.WithTimeout(context.WithoutCancel(in.r.Context()), in.opts.hookTimeout)
	defer cancel()
	if in.opts.unitSecrets != nil {
		all, err := in.opts.unitSecrets(ctx, n.UID)
		if err != nil {
			return &refusal{http.StatusServiceUnavailable, "looking up the unit's secrets", err}
		}
		if !secret.in(digests(all)) {
			return &refusal{http.StatusUnauthorized, "the secret is not the unit's", nil}
		}
	}
	if n.Type == NotificationTest {
		in.seen.tests.Add(1)
		in.notify()
		return nil
	}
	return in.runHookOnce(ctx)
}

// authenticate checks the secret, and returns its digest.
func (in *delivery) authenticate() (digest, *refusal) {
	values := in.r.Header.Values("Authorization")
	if len(values) != 1 {
		return digest{}, &refusal{http.StatusUnauthorized, fmt.Sprintf("%d Authorization headers", len(values)), nil}
	}
	scheme, secret, _ := strings.Cut(values[0], " ")
	if secret = strings.Trim(secret, " "); !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return digest{}, &refusal{http.StatusUnauthorized, "no bearer token", nil}
	}
	d := digestOf(secret)
	if d.in(*in.secrets.Load()) {
		return d, nil
	}
	if in.opts.requestSecrets != nil {
		all, err := in.opts.requestSecrets(in.r)
		if err != nil {
			return digest{}, &refusal{http.StatusServiceUnavailable, "looking up the request's secrets", err}
		}
		if d.in(digests(all)) {
			return d, nil
		}
	}
	return digest{}, &refusal{http.StatusUnauthorized, "unknown secret", nil}
}

// digests of secrets; empty ones open nothing.
func digests(secrets []Secret) []digest {
	all := make([]digest, 0, len(secrets))
	for _, s := range secrets {
		if !s.IsZero() {
			all = append(all, digestOf(s.Reveal()))
		}
	}
	return all
}

// maxWaitForPlace is how long a request waits when too much is under way. A
// burst passes in that time, and each 503 uses up one of three deliveries.
const maxWaitForPlace = 2 * time.Second

// enter takes a place among the requests under way.
func (in *delivery) acquirePlace() bool {
	select {
	case in.places <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(maxWaitForPlace)
	defer timer.Stop()
	select {
	case in.places <- struct{}{}:
		return true
	case <-timer.C:
	case <-in.r.Context().Done():
	}
	return false
}

func (in *delivery) releasePlace() { <-in.places }

// read reads the body within its bounds.
func (in *delivery) readBody() ([]byte, *refusal) {
	limit, length := in.opts.maxBody, in.r.ContentLength
	if length > limit {
		return nil, &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("a body of %d bytes", length), nil}
	}
	size := int64(4 << 10)
	if length >= 0 {
		size = length
	}
	// One byte more, so that a body of the declared length ends in one read.
	body := make([]byte, 0, min(size, 64<<10)+1)
	for {
		n, err := in.r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("a body of more than %d bytes", limit), nil}
		case err == io.EOF:
			if in.deadline {
				// What reads on for us (to see the service hang up) needs none.
				_ = in.control.SetReadDeadline(time.Time{})
			}
			return body, nil
		case err != nil:
			return nil, &refusal{http.StatusRequestTimeout, "reading the body", err}
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, len(body))
		}
	}
}

// once runs the hooks, unless they have been through this notification before.
func (in *delivery) runHookOnce(ctx context.Context) (no *refusal) {
	key := in.n.dedupeKey()
	first, err := in.opts.deduper.Begin(ctx, key)
	if err != nil {
		return &refusal{http.StatusServiceUnavailable, "asking whether it is a duplicate", err}
	}
	if !first {
		return nil
	}
	done := false
	defer func() { // also when a hook panics
		if _, local := in.opts.deduper.(*memoryDeduper); !local {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), in.opts.hookTimeout)
			defer cancel()
		}
		if err := in.opts.deduper.End(ctx, key, done); err != nil {
			in.opts.logger.LogAttrs(ctx, slog.LevelError, "remembering a notification",
				slog.String("notificationId", in.n.ID), slog.Any("error", err))
		}
	}()
	in.notify()
	if in.hook == nil {
		if in.n.payload() == nil {
			in.opts.logger.LogAttrs(ctx, slog.LevelWarn, "notification of an unknown type or form",
				slog.String("notificationId", in.n.ID), slog.String("notificationType", string(in.n.Type)))
		}
	} else if err := in.hook(ctx, in.n); err != nil {
		return &refusal{http.StatusServiceUnavailable, "the hook failed", err}
	}
	done = true
	return nil
}

func (in *delivery) notify() {
	if in.opts.notify != nil {
		in.opts.notify(in.n)
	}
}
