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

// NotificationHandler is the [http.Handler] that receives notifications.
// [NewNotificationHandler] returns one.
//
// It answers
//
//   - 200 if the hook returned nil, for this delivery or for an earlier one, and to
//     the service's test;
//   - 401 if the secret is wrong or missing. It does not read the body before it has
//     checked the secret; [WithUnitSecrets] makes a second check after that;
//   - 400 if the body is not a notification, 405 if the method is not POST, 408 if the
//     body cannot be read or arrives too late, and 413 if the body is too large;
//   - 500 if the hook panicked, and 503 if the hook, the [Deduper] or the search for
//     secrets failed, or if the handler has too many requests. The service then
//     delivers the notification again.
//
// When a notification is delivered twice at the same time, the handler answers neither
// delivery before the hook has returned.
//
// A handler limits the size of a body, the time for it, and the number of requests
// that it handles at once. Only the http.Server can limit the time for headers: set
// ReadHeaderTimeout and IdleTimeout, or use [NotificationHandler.Serve].
type NotificationHandler struct {
	hook  func(ctx context.Context, n *Notification) error // nil when there is none
	opts  notificationOptions
	slots chan struct{}

	secretsMu sync.Mutex // serializes changes of secrets
	secrets   atomic.Pointer[[]digest]

	seen handlerCounts
}

// handlerCounts count all requests, the requests that were answered with 401, and the
// service's tests. With them, Register explains why a test did not succeed.
type handlerCounts struct{ requests, refused, tests atomic.Uint64 }

// handlerSnapshot has the handlerCounts of one moment.
type handlerSnapshot struct{ requests, refused, tests uint64 }

func (c *handlerCounts) snapshot() handlerSnapshot {
	return handlerSnapshot{c.requests.Load(), c.refused.Load(), c.tests.Load()}
}

// digest is the SHA-256 of a secret. Digests all have the same length, so a comparison
// does not reveal the length of a secret.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// isIn reports whether d is one of the accepted digests. Its time does not depend on
// which of them is equal to d.
func (d digest) isIn(accepted []digest) bool {
	found := 0
	for i := range accepted {
		found |= subtle.ConstantTimeCompare(d[:], accepted[i][:])
	}
	return found == 1
}

// NewNotificationHandler returns a handler that calls hook with each notification
// except the service's tests. Notifications of a type that the SDK does not know, and
// those with a payload that it cannot read, are included. hook can be nil.
//
// When hook returns an error or panics, the handler answers 503 or 500. The service
// then delivers the notification again: it makes up to three deliveries within one to
// five minutes. When hook returns nil, the handler answers 200, and the service does
// not deliver the notification again, so hook must store what it needs before it
// returns. In rare cases the handler calls hook again with a notification that hook
// has already accepted: for example, if the answer of the handler was lost and the
// [Deduper] has lost its record of the notification too.
//
// Calls of hook run in parallel and in any order. hook must not change the
// notification. The context of hook ends after the hook timeout
// ([WithNotificationTimeouts]). It does not end when the service closes the connection.
//
// The handler needs [WithNotificationSecrets] or [WithRequestSecrets]. Without both,
// and for an option with a value that is not allowed, the error is [ErrInvalid].
func NewNotificationHandler(hook func(ctx context.Context, n *Notification) error, opts ...NotificationOption) (*NotificationHandler, error) {
	o := notificationOptions{
		maxBody: 256 << 10, maxConcurrent: 64, readTimeout: 10 * time.Second, hookTimeout: 30 * time.Second,
		logger: slog.New(slog.DiscardHandler),
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, invalidf("a NotificationOption is nil")
		}
		if err := opt(&o); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if len(o.secrets) == 0 && o.requestSecrets == nil {
		return nil, invalidf("a notification handler needs WithNotificationSecrets or WithRequestSecrets")
	}
	if o.deduper == nil {
		o.deduper = NewDeduper()
	}
	h := &NotificationHandler{hook: hook, opts: o, slots: make(chan struct{}, o.maxConcurrent)}
	h.secrets.Store(&[]digest{})
	for _, s := range o.secrets {
		if err := h.AddSecret(s); err != nil {
			return nil, err
		}
	}
	h.opts.secrets = nil
	return h, nil
}

// AddSecret makes the handler accept one more secret. The error is [ErrInvalid] if the
// secret is empty or cannot be a bearer token (see [Registration]).
func (h *NotificationHandler) AddSecret(s Secret) error {
	secret := s.Reveal()
	if secret == "" {
		return invalidf("the secret of a notification handler is empty")
	}
	if !bearerForm.MatchString(secret) || secret == redacted {
		return invalidf("the secret of a notification handler must consist of letters, digits and -._~+/, with = at the end")
	}
	h.secretsMu.Lock()
	defer h.secretsMu.Unlock()
	if d, accepted := digestOf(secret), *h.secrets.Load(); !d.isIn(accepted) {
		extended := append(slices.Clone(accepted), d)
		h.secrets.Store(&extended)
	}
	return nil
}

// accepts reports whether a secret is one of those of WithNotificationSecrets and
// AddSecret.
func (h *NotificationHandler) accepts(s Secret) bool {
	return digestOf(s.Reveal()).isIn(*h.secrets.Load())
}

// RemoveSecret makes the handler no longer accept a secret. After a secret was
// replaced, the service may still send the old secret with notifications that it could
// not deliver before. So remove the old secret only after 15 minutes. A handler without
// secrets accepts no notification.
func (h *NotificationHandler) RemoveSecret(s Secret) {
	h.secretsMu.Lock()
	defer h.secretsMu.Unlock()
	removed := digestOf(s.Reveal())
	rest := slices.DeleteFunc(slices.Clone(*h.secrets.Load()), func(d digest) bool { return d == removed })
	h.secrets.Store(&rest)
}

// Format implements [fmt.Formatter]. It prints only the name of the type, because a
// handler contains secrets.
func (h *NotificationHandler) Format(f fmt.State, _ rune) {
	fmt.Fprint(f, "appsandbooks.NotificationHandler")
}

// Serve receives notifications on l, at any path, with an [http.Server] that has limits
// for times and sizes. When ctx ends, Serve accepts no new requests, waits until it has
// answered those in progress, and returns nil. If that takes longer than the read
// timeout and the hook timeout together ([WithNotificationTimeouts]), Serve returns an
// error. It always closes l.
//
// The service delivers to https URLs only. Use a listener of crypto/tls, or a proxy
// that forwards the Authorization header.
func (h *NotificationHandler) Serve(ctx context.Context, l net.Listener) error {
	maxDuration := h.opts.readTimeout + h.opts.hookTimeout
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      2*maxDuration + 30*time.Second,
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
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxDuration)
	defer cancel()
	err := srv.Shutdown(shutdown)
	if err != nil {
		_ = srv.Close()
		err = fmt.Errorf("receiving notifications: not all requests were answered before the shutdown: %w", err)
	}
	<-served //nolint:errcheck // it is http.ErrServerClosed
	return err
}

// ServeHTTP implements [http.Handler].
func (h *NotificationHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.slots == nil { // the handler was not made by NewNotificationHandler
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h.seen.requests.Add(1)
	in := delivery{NotificationHandler: h, r: r, w: w, control: http.NewResponseController(w)}
	// Set the deadline before anything is read. The deadline also limits the rest of the
	// body, which the http.Server reads after this function.
	in.hasReadDeadline = in.control.SetReadDeadline(time.Now().Add(h.opts.readTimeout)) == nil
	in.answer(in.serve())
}

// refusal describes an answer of the handler other than 200. A nil *refusal means 200.
type refusal struct {
	status int    // HTTP status
	reason string // the reason of the refusal, for the log; without secrets and ids
	err    error  // the underlying error, for the log; nil if there is none
}

// delivery is one request to a NotificationHandler.
type delivery struct {
	*NotificationHandler
	r               *http.Request
	w               http.ResponseWriter
	control         *http.ResponseController
	hasReadDeadline bool          // false if the response writer supports no deadlines, as in tests
	n               *Notification // nil until the body is parsed
}

// answer logs a refusal and answers the request.
func (in *delivery) answer(refused *refusal) {
	if refused == nil {
		in.w.WriteHeader(http.StatusOK)
		return
	}
	level, attrs := slog.LevelWarn, []slog.Attr{slog.Int("status", refused.status), slog.String("reason", refused.reason)}
	if refused.status >= 500 {
		level = slog.LevelError
	}
	if refused.err != nil {
		attrs = append(attrs, slog.Any("error", refused.err))
	}
	if in.n != nil {
		attrs = append(attrs, slog.String("notificationId", in.n.ID),
			slog.String("notificationType", string(in.n.Type)), slog.String("uId", in.n.UID))
	}
	in.opts.logger.LogAttrs(in.r.Context(), level, "notification refused", attrs...)

	header := in.w.Header()
	switch refused.status {
	case http.StatusUnauthorized:
		in.seen.refused.Add(1)
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	}
	if in.n == nil {
		header.Set("Connection", "close") // close the connection, because the rest of the body may be unread
	}
	http.Error(in.w, http.StatusText(refused.status), refused.status)
}

// serve handles the request up to the answer, and returns nil for the answer 200.
func (in *delivery) serve() (refused *refusal) {
	defer func() {
		if v := recover(); v != nil {
			// The value of a panic may contain secrets, so only its type is logged.
			in.opts.logger.LogAttrs(in.r.Context(), slog.LevelError, "panic in a notification hook",
				slog.String("type", fmt.Sprintf("%T", v)), slog.String("stack", string(debug.Stack())))
			refused = &refusal{http.StatusInternalServerError, "the hook panicked", nil}
		}
	}()
	if in.r.Method != http.MethodPost {
		return &refusal{http.StatusMethodNotAllowed, "the method is not POST", nil}
	}
	secret, refused := in.authenticate()
	if refused != nil {
		return refused
	}
	if !in.acquireSlot() {
		return &refusal{http.StatusServiceUnavailable, "too many notifications at once", nil}
	}
	defer in.releaseSlot()
	body, refused := in.readBody()
	if refused != nil {
		return refused
	}
	n, err := parseNotification(body)
	if err != nil {
		return &refusal{http.StatusBadRequest, "the body is not a notification", err}
	}
	in.n = n

	ctx, cancel := context.WithTimeout(context.WithoutCancel(in.r.Context()), in.opts.hookTimeout)
	defer cancel()
	if in.opts.unitSecrets != nil {
		secrets, err := in.opts.unitSecrets(ctx, n.UID)
		if err != nil {
			return &refusal{http.StatusServiceUnavailable, "the function of WithUnitSecrets failed", err}
		}
		if !secret.isIn(digests(secrets)) {
			return &refusal{http.StatusUnauthorized, "the secret does not belong to the notification's organizational unit", nil}
		}
	}
	if n.Type == NotificationTest {
		in.notify() // call notify before the test is counted: if notify panics, Register must not report an accepted test
		in.seen.tests.Add(1)
		return nil
	}
	return in.runHookOnce(ctx)
}

// authenticate checks the secret of the Authorization header, and returns its digest.
func (in *delivery) authenticate() (digest, *refusal) {
	values := in.r.Header.Values("Authorization")
	if len(values) != 1 {
		return digest{}, &refusal{http.StatusUnauthorized, fmt.Sprintf("the request has %d Authorization headers instead of one", len(values)), nil}
	}
	scheme, secret, _ := strings.Cut(values[0], " ")
	if secret = strings.Trim(secret, " "); !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return digest{}, &refusal{http.StatusUnauthorized, "the Authorization header has no bearer token", nil}
	}
	d := digestOf(secret)
	if d.isIn(*in.secrets.Load()) {
		return d, nil
	}
	if in.opts.requestSecrets != nil {
		secrets, err := in.opts.requestSecrets(in.r)
		if err != nil {
			return digest{}, &refusal{http.StatusServiceUnavailable, "the function of WithRequestSecrets failed", err}
		}
		if d.isIn(digests(secrets)) {
			return d, nil
		}
	}
	return digest{}, &refusal{http.StatusUnauthorized, "the secret is not accepted", nil}
}

// digests returns the digests of the secrets that are not empty.
func digests(secrets []Secret) []digest {
	result := make([]digest, 0, len(secrets))
	for _, s := range secrets {
		if !s.IsZero() {
			result = append(result, digestOf(s.Reveal()))
		}
	}
	return result
}

// maxSlotWait is how long a request waits for a slot when all slots are in use. During
// a burst, waiting is better than a 503, which uses up one of only three deliveries.
const maxSlotWait = 2 * time.Second

// acquireSlot waits until fewer requests than WithNotificationLimits allows are in
// progress. It returns false after maxSlotWait, or when the client closes the connection.
func (in *delivery) acquireSlot() bool {
	select {
	case in.slots <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(maxSlotWait)
	defer timer.Stop()
	select {
	case in.slots <- struct{}{}:
		return true
	case <-timer.C:
	case <-in.r.Context().Done():
	}
	return false
}

func (in *delivery) releaseSlot() { <-in.slots }

// readBody reads the body of the request, up to the largest size that
// WithNotificationLimits allows.
func (in *delivery) readBody() ([]byte, *refusal) {
	limit, length := in.opts.maxBody, in.r.ContentLength
	if length > limit {
		return nil, &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has %d bytes, more than the limit of %d", length, limit), nil}
	}
	size := int64(4 << 10)
	if length >= 0 {
		size = length
	}
	// The buffer has one byte more than the declared length, so that one Read can also
	// report the end.
	body := make([]byte, 0, min(size, 64<<10)+1)
	for {
		n, err := in.r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more bytes than the limit of %d", limit), nil}
		case err == io.EOF:
			if in.hasReadDeadline {
				// The http.Server continues to read, to detect that the service closes the
				// connection. The deadline must not end this reading.
				_ = in.control.SetReadDeadline(time.Time{})
			}
			return body, nil
		case err != nil:
			return nil, &refusal{http.StatusRequestTimeout, "the body could not be read", err}
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, len(body))
		}
	}
}

// runHookOnce calls the function of WithNotify and the hook, unless the Deduper
// reports that the hook has handled the notification before.
func (in *delivery) runHookOnce(ctx context.Context) *refusal {
	key := in.n.dedupeKey()
	first, err := in.opts.deduper.Begin(ctx, key)
	if err != nil {
		return &refusal{http.StatusServiceUnavailable, "the deduper failed", err}
	}
	if !first {
		return nil
	}
	handled := false
	defer func() { // also when the hook panics
		if _, local := in.opts.deduper.(*memoryDeduper); !local {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), in.opts.hookTimeout)
			defer cancel()
		}
		if err := in.opts.deduper.End(ctx, key, handled); err != nil {
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
	handled = true
	return nil
}

// notify calls the function of WithNotify, if there is one.
func (in *delivery) notify() {
	if in.opts.notify != nil {
		in.opts.notify(in.n)
	}
}
