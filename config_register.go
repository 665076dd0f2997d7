package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Registration is the client configuration that a device management service sends to
// the service. [ConfigService.Register] needs NotificationURL and NotificationAuthToken.
// [ConfigService.UpdateClientConfig] sends the fields that are set. Apple does not
// document whether the service keeps or clears a field that is not sent: send all
// fields, and compare the answer.
type Registration struct {
	// NotificationURL is where the service sends notifications: https, host and path
	// only, at most Limits.MaxNotificationLength long. (The stand-in also accepts http
	// for a loopback host.)
	NotificationURL string
	// NotificationAuthToken is the secret that the service sends as the bearer token of
	// each notification. It must consist of letters, digits and -._~+/ (and = at the
	// end), must be at most Limits.MaxNotificationLength long, and should be at least as
	// hard to guess as 16 random bytes.
	NotificationAuthToken Secret
	// NotificationTypes is the complete set of types to subscribe to. It replaces the
	// earlier set. If it is nil, Register subscribes to all of [NotificationTypes].
	NotificationTypes []NotificationType
	// MDMInfo claims the organizational unit. It replaces the claim of any other device
	// management service without an error. If it is nil, Register uses the MDMInfo of
	// [WithOwner], if that option is set.
	MDMInfo *MDMInfo
	// Handler is the receiver of the notifications, if it runs in this process. Register
	// adds NotificationAuthToken to the secrets that it accepts, and uses it to find out
	// why the service could not reach the URL. Leave it nil if the receiver runs
	// elsewhere; that receiver must already accept the secret.
	Handler *NotificationHandler
}

// Register registers the URL to which the service sends notifications. If the answer
// differs from r, Register returns the answer and [ErrAnswerDiffers]; the answer need not
// contain the secret. The receiver must
// run before the call, because the service delivers a test before it answers: listen
// first, and serve with [NotificationHandler.Serve] or your own server.
//
// These errors come with advice in their text: [ErrNotificationConfigIncomplete],
// [ErrNotificationConfigTooLong], [ErrNotificationURLInvalid], [ErrMDMInfoIncomplete] and
// [ErrNotificationURLUnreachable]. If Register finds the mistake itself, the error is
// also [ErrInvalid], and nothing is sent.
//
// To replace the secret without losing notifications, call Register with the new secret.
// The handler accepts both secrets from the start of the call. Apple does not document
// which of the two the test uses, and later deliveries can use the old one, so wait 15
// minutes before you call [NotificationHandler.RemoveSecret]. With several receivers,
// make all of them accept the new secret before one of them calls Register.
//
// Register is retried like a read: the same registration sent twice has the same result.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) Register(ctx context.Context, r Registration) (*ClientConfig, error) {
	if g := s.client.opts.guard; g != nil && r.MDMInfo == nil {
		r.MDMInfo = &g.owner
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("registering for notifications: %w", err)
	}
	secret, acceptedBefore, before := r.NotificationAuthToken, false, handlerSnapshot{}
	if h := r.Handler; h != nil {
		acceptedBefore, before = h.accepts(secret), h.seen.snapshot()
		if err := h.AddSecret(secret); err != nil {
			return nil, err
		}
	}
	sent := r
	sent.Handler, sent.NotificationTypes = nil, r.types()
	config, err := s.updateClientConfig(ctx, sent, false)
	if err != nil {
		var e *Error
		rejected := errors.As(err, &e) && e.Number != 0 || errors.Is(err, ErrTakenOver)
		if r.Handler != nil && !acceptedBefore && rejected {
			r.Handler.RemoveSecret(secret) // restore the previous secrets
		}
		if advice := s.advice(&r, before, err); advice != "" {
			err = fmt.Errorf("%s: %w", advice, err)
		}
		return nil, fmt.Errorf("registering for notifications: %w", err)
	}
	if differences := r.differences(config); len(differences) > 0 {
		return config, fmt.Errorf("%w: %s", ErrAnswerDiffers, strings.Join(differences, ", "))
	}
	return config, nil
}

// bearerForm matches the bearer tokens that RFC 6750 allows.
var bearerForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// check returns an error for a registration that the service would reject. The error
// wraps the error of the service and ErrInvalid.
func (r *Registration) check() error {
	secret := r.NotificationAuthToken.Reveal()
	if r.NotificationURL == "" || secret == "" {
		return fmt.Errorf("%w: set NotificationURL and NotificationAuthToken: %w", ErrInvalid, ErrNotificationConfigIncomplete)
	}
	u, err := url.Parse(r.NotificationURL)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(r.NotificationURL, "?#") ||
		u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, adviceURL, ErrNotificationURLInvalid)
	}
	if !bearerForm.MatchString(secret) {
		return invalidf("NotificationAuthToken must consist of letters, digits and -._~+/ only, with = only at the end")
	}
	if r.MDMInfo != nil && r.MDMInfo.check() != nil {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, adviceMDMInfo, ErrMDMInfoIncomplete)
	}
	return nil
}

const (
	adviceURL     = "the notification URL must be https:// with a host and path, without user, query and fragment"
	adviceMDMInfo = "set the ID, the Name and the Metadata of MDMInfo"
)

// advice returns what to do about an error of the service, and "" for errors without
// advice.
func (s *ConfigService) advice(r *Registration, before handlerSnapshot, err error) string {
	switch {
	case errors.Is(err, ErrNotificationConfigIncomplete):
		return "send the URL and the secret together"
	case errors.Is(err, ErrNotificationConfigTooLong):
		limits := defaultLimits
		if c := s.cached.Load(); c != nil {
			limits = c.config.Limits.orDefaults()
		}
		return fmt.Sprintf("the URL has %d characters and the secret has %d; the service accepts at most %d in each",
			utf8.RuneCountInString(r.NotificationURL), utf8.RuneCountInString(r.NotificationAuthToken.Reveal()), limits.MaxNotificationLength)
	case errors.Is(err, ErrNotificationURLInvalid):
		return adviceURL
	case errors.Is(err, ErrMDMInfoIncomplete):
		return adviceMDMInfo
	case errors.Is(err, ErrNotificationURLUnreachable):
		return "the service could not deliver its test: " + r.diagnose(before)
	}
	return ""
}

// diagnose returns why the service's test notification failed, as far as the handler's
// counts show.
func (r *Registration) diagnose(before handlerSnapshot) string {
	const reachability = "on the public internet, its name must resolve, its port must be open and its certificate must be trusted"
	if r.Handler == nil {
		return "the receiver must run, accept the secret and answer 2xx; " + reachability
	}
	switch now := r.Handler.seen.snapshot(); {
	case now.tests > before.tests:
		return "the handler accepted a test, but the service did not receive the 2xx answer in time; check the proxies between them"
	case now.refused > before.refused:
		return "a request without the secret reached the handler; check for a proxy that removes or replaces the Authorization header"
	case now.requests > before.requests:
		return "a request reached the handler, but the handler refused it or failed; see the handler's log"
	}
	return "no request reached the handler; the URL must lead to it; " + reachability
}

// types returns the notification types that Register subscribes to.
func (r *Registration) types() []NotificationType {
	if r.NotificationTypes == nil {
		return NotificationTypes()
	}
	return r.NotificationTypes
}

// differences returns the settings in which the answer differs from the registration.
// The answer need not repeat the secret, the type of the test, or, if the caller did not
// name the types, UNLIMITED_ASSET, whose payload Apple does not document.
func (r *Registration) differences(c *ClientConfig) []string {
	var differs []string
	if c.NotificationURL != r.NotificationURL {
		differs = append(differs, "notificationUrl")
	}
	if got := c.NotificationAuthToken; !got.IsZero() && got.Reveal() != r.NotificationAuthToken.Reveal() {
		differs = append(differs, "notificationAuthToken")
	}
	if r.MDMInfo != nil && (c.MDMInfo == nil || *c.MDMInfo != *r.MDMInfo) {
		differs = append(differs, "mdmInfo")
	}
	types := r.types()
	for _, t := range types {
		optional := t == NotificationTest || t == NotificationUnlimitedAsset && r.NotificationTypes == nil
		if !optional && !slices.Contains(c.SubscribedNotificationTypes, t) {
			differs = append(differs, "type "+string(t)+" is missing")
		}
	}
	for _, t := range c.SubscribedNotificationTypes {
		if !slices.Contains(types, t) {
			differs = append(differs, "type "+shorten(clean(string(t)), 40)+" was not requested")
		}
	}
	return differs
}

// Unregister ends the subscription to all types of notifications. It does not change the
// MDMInfo. Apple documents no way to unregister: Unregister sends an empty set of types,
// and it is not known whether the service then keeps the URL. If the answer still
// contains a type, Unregister returns the answer and [ErrAnswerDiffers]. Keep the
// receiver running for five more minutes, because notifications may still arrive.
//
// Unregister reads the client configuration first. Both requests are retried like reads.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) Unregister(ctx context.Context) (*ClientConfig, error) {
	config, err := s.ClientConfig(ctx)
	if err == nil {
		// An answer without any expected field, for example from a proxy, does not show
		// which MDMInfo the unit has. So nothing is sent.
		err = errIfBlank(config)
	}
	if err == nil {
		config, err = s.updateClientConfig(ctx, Registration{
			MDMInfo: config.MDMInfo, NotificationTypes: []NotificationType{},
		}, false)
	}
	if err != nil {
		return nil, fmt.Errorf("unregistering from notifications: %w", err)
	}
	if n := len(config.SubscribedNotificationTypes); n > 0 {
		return config, fmt.Errorf("unregistering from notifications: %w: %d notification types are still subscribed", ErrAnswerDiffers, n)
	}
	return config, nil
}
