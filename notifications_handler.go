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

// NotificationHooks says what a [NotificationHandler] does with notifications
// and, further down, how much it takes. Every field is optional.
//
// A hook that returns an error, or panics, makes the handler answer 5xx, and
// the service delivers the notification again: up to three times in all,
// within one to five minutes. A hook that returns nil has taken the
// notification over for good, so store it before returning. Once in a while a
// notification comes again to a hook that has taken it: when the hook after it
// failed, or when the answer or the Deduper's memory was lost.
//
// Hooks run side by side, in any order, and must not change the notification.
// Their context ends after HookTimeout, and not when the service hangs up.
type NotificationHooks struct {
	// Any is called with every notification but tests, before the hook of its
	// type: also with types newer than the SDK, and with payloads that it
	// cannot read. Both hooks must return nil.
	Any func(ctx context.Context, n *Notification) error

	// The hooks by type are called with the payload pointer of that name set.
	AssetManagement        func(ctx context.Context, n *Notification) error
	AssetCount             func(ctx context.Context, n *Notification) error
	UserManagement         func(ctx context.Context, n *Notification) error
	UserAssociated         func(ctx context.Context, n *Notification) error
	SubscriptionManagement func(ctx context.Context, n *Notification) error
	SubscriptionCount      func(ctx context.Context, n *Notification) error

	// Notify wakes those who wait for events. It is called with every
	// notification, tests too, before the other hooks, and must return at
	// once. For one organizational unit it is [Client.Notify] itself:
	//
	//	Notify: client.Notify
	//
	// For many, it looks the client up:
	//
	//	Notify: func(n *appsandbooks.Notification) {
	//		if c := clients[n.UID]; c != nil {
	//			c.Notify(n)
	//		}
	//	}
	Notify func(n *Notification)

	// RequestSecrets gives the secrets that a request may carry, beside those
	// of [NewNotificationHandler]: by its path, for example, if each unit has a
	// notification URL of its own. It is called before the body is read. An
	// error makes the handler answer 503.
	RequestSecrets func(r *http.Request) ([]string, error)

	// UnitSecrets gives the secrets of an organizational unit. It is called
	// after the notification was read, so it narrows down what was let in by
	// other means: the secret that came must also be one of the unit's. With
	// it, many units can share one URL and still not speak for each other. Pass
	// all their secrets to [NewNotificationHandler] then. No secrets for a unit
	// means that it is unknown; an error makes the handler answer 503.
	UnitSecrets func(ctx context.Context, uid string) ([]string, error)

	// Deduper remembers which notifications are done. By default, each handler
	// has one of its own, in memory: see [NewDeduper].
	Deduper Deduper

	// Logger gets a line for everything that is not answered 2xx, and for
	// notifications that no hook can read. Secrets are never logged.
	Logger *slog.Logger

	MaxBody       int64         // bytes of a body, 256 KiB by default; 100 elements have about 20 KiB
	MaxConcurrent int           // requests whose body or hooks are under way, 64 by default; more wait a little, then get 503
	ReadTimeout   time.Duration // for reading the body, 10 s by default
	HookTimeout   time.Duration // for the hooks of a notification, 30 s by default
}

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
	hooks  NotificationHooks
	places chan struct{}

	change  sync.Mutex // of secrets
	secrets atomic.Pointer[[]digest]

	seen handlerCounts
}

// handlerCounts tell Register what reached the handler.
type handlerCounts struct{ requests, refused, tests atomic.Uint64 }

// tally is the state of the counts at one moment.
type tally struct{ requests, refused, tests uint64 }

func (c *handlerCounts) tally() tally {
	return tally{c.requests.Load(), c.refused.Load(), c.tests.Load()}
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

// NewNotificationHandler makes a handler that accepts notifications with any of
// the secrets: the NotificationAuthToken that the service was given by
// [ConfigService.Register], and while it is being replaced, the one before. The
// secrets can be changed later, with [NotificationHandler.AddSecret] and
// [NotificationHandler.RemoveSecret]. An empty secret is [ErrInvalid], and so is
// none at all, unless there is hooks.RequestSecrets.
func NewNotificationHandler(hooks NotificationHooks, secrets ...string) (*NotificationHandler, error) {
	if len(secrets) == 0 && hooks.RequestSecrets == nil {
		return nil, invalidf("a notification handler needs a secret")
	}
	if hooks.MaxBody < 0 || hooks.MaxConcurrent < 0 || hooks.ReadTimeout < 0 || hooks.HookTimeout < 0 {
		return nil, invalidf("a bound of the notification handler is negative")
	}
	if hooks.MaxBody == 0 {
		hooks.MaxBody = 256 << 10
	}
	if hooks.MaxConcurrent == 0 {
		hooks.MaxConcurrent = 64
	}
	if hooks.ReadTimeout == 0 {
		hooks.ReadTimeout = 10 * time.Second
	}
	if hooks.HookTimeout == 0 {
		hooks.HookTimeout = 30 * time.Second
	}
	if hooks.Deduper == nil {
		hooks.Deduper = NewDeduper()
	}
	if hooks.Logger == nil {
		hooks.Logger = slog.New(slog.DiscardHandler)
	}
	h := &NotificationHandler{hooks: hooks, places: make(chan struct{}, hooks.MaxConcurrent)}
	h.secrets.Store(&[]digest{})
	for _, s := range secrets {
		if err := h.AddSecret(s); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// AddSecret accepts one more secret. An empty one, or one that no bearer token
// can be (see [Registration]), is [ErrInvalid].
func (h *NotificationHandler) AddSecret(secret string) error {
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
func (h *NotificationHandler) accepts(secret string) bool {
	return digestOf(secret).in(*h.secrets.Load())
}

// RemoveSecret no longer accepts a secret. The service may deliver what it
// could not deliver before with the secret of that time, so let the previous
// one stand for 15 minutes after it was replaced. A handler without secrets
// accepts nothing.
func (h *NotificationHandler) RemoveSecret(secret string) {
	h.change.Lock()
	defer h.change.Unlock()
	d := digestOf(secret)
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
	bound := h.hooks.ReadTimeout + h.hooks.HookTimeout
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      2*bound + 30*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(h.hooks.Logger.Handler(), slog.LevelWarn),
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
	in := inbound{NotificationHandler: h, r: r, w: w, control: http.NewResponseController(w)}
	// In force before anything is read, also for what the server reads after us.
	in.deadline = in.control.SetReadDeadline(time.Now().Add(h.hooks.ReadTimeout)) == nil
	in.answer(in.serve())
}

// refusal is an answer other than 2xx; nil stands for 200.
type refusal struct {
	status int
	why    string
	err    error
}

// inbound is one request.
type inbound struct {
	*NotificationHandler
	r        *http.Request
	w        http.ResponseWriter
	control  *http.ResponseController
	deadline bool          // is set; a writer that knows none is somebody's test
	n        *Notification // once it is read
}

func (in *inbound) answer(no *refusal) {
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
	in.hooks.Logger.LogAttrs(in.r.Context(), level, "notification refused", attrs...)

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
func (in *inbound) serve() (no *refusal) {
	defer func() {
		if v := recover(); v != nil {
			// The value may hold anything: its type will do.
			in.hooks.Logger.LogAttrs(in.r.Context(), slog.LevelError, "panic in a notification hook",
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
	if !in.enter() {
		return &refusal{http.StatusServiceUnavailable, "too many notifications at once", nil}
	}
	defer in.leave()
	body, no := in.read()
	if no != nil {
		return no
	}
	n, err := parseNotification(body)
	if err != nil {
		return &refusal{http.StatusBadRequest, "not a notification", err}
	}
	in.n = n

	ctx, cancel := context.WithTimeout(context.WithoutCancel(in.r.Context()), in.hooks.HookTimeout)
	defer cancel()
	if in.hooks.UnitSecrets != nil {
		all, err := in.hooks.UnitSecrets(ctx, n.UID)
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
	return in.once(ctx)
}

// authenticate checks the secret, and returns its digest.
func (in *inbound) authenticate() (digest, *refusal) {
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
	if in.hooks.RequestSecrets != nil {
		all, err := in.hooks.RequestSecrets(in.r)
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
func digests(secrets []string) []digest {
	all := make([]digest, 0, len(secrets))
	for _, s := range secrets {
		if s != "" {
			all = append(all, digestOf(s))
		}
	}
	return all
}

// maxWaitForPlace is how long a request waits when too much is under way. A
// burst passes in that time, and each 503 uses up one of three deliveries.
const maxWaitForPlace = 2 * time.Second

// enter takes a place among the requests under way.
func (in *inbound) enter() bool {
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

func (in *inbound) leave() { <-in.places }

// read reads the body within its bounds.
func (in *inbound) read() ([]byte, *refusal) {
	limit, length := in.hooks.MaxBody, in.r.ContentLength
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
func (in *inbound) once(ctx context.Context) (no *refusal) {
	key := in.n.dedupeKey()
	first, err := in.hooks.Deduper.Begin(ctx, key)
	if err != nil {
		return &refusal{http.StatusServiceUnavailable, "asking whether it is a duplicate", err}
	}
	if !first {
		return nil
	}
	done := false
	defer func() { // also when a hook panics
		if _, local := in.hooks.Deduper.(*memoryDeduper); !local {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), in.hooks.HookTimeout)
			defer cancel()
		}
		if err := in.hooks.Deduper.End(ctx, key, done); err != nil {
			in.hooks.Logger.LogAttrs(ctx, slog.LevelError, "remembering a notification",
				slog.String("notificationId", in.n.ID), slog.Any("error", err))
		}
	}()
	in.notify()
	typed, known := in.hooks.of(in.n)
	if typed == nil && in.hooks.Any == nil && !known {
		in.hooks.Logger.LogAttrs(ctx, slog.LevelWarn, "notification of an unknown type or form",
			slog.String("notificationId", in.n.ID), slog.String("notificationType", string(in.n.Type)))
	}
	for _, hook := range []func(context.Context, *Notification) error{in.hooks.Any, typed} {
		if hook == nil {
			continue
		}
		if err := hook(ctx, in.n); err != nil {
			return &refusal{http.StatusServiceUnavailable, "the hook failed", err}
		}
	}
	done = true
	return nil
}

func (in *inbound) notify() {
	if in.hooks.Notify != nil {
		in.hooks.Notify(in.n)
	}
}

// of is the hook for the payload of a notification, and whether it has one
// that could be read.
func (h *NotificationHooks) of(n *Notification) (hook func(context.Context, *Notification) error, known bool) {
	switch {
	case n.AssetManagement != nil:
		return h.AssetManagement, true
	case n.AssetCount != nil:
		return h.AssetCount, true
	case n.UserManagement != nil:
		return h.UserManagement, true
	case n.UserAssociated != nil:
		return h.UserAssociated, true
	case n.SubscriptionManagement != nil:
		return h.SubscriptionManagement, true
	case n.SubscriptionCount != nil:
		return h.SubscriptionCount, true
	}
	return nil, false
}
