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

// Registration is what a device management service tells Apple's service about
// itself. [ConfigService.Register] needs NotificationURL and
// NotificationAuthToken; [ConfigService.UpdateClientConfig] sends what is set.
// Whether the service clears or keeps what is left out is not documented: send
// everything, and compare the answer.
type Registration struct {
	// NotificationURL receives the notifications: https, host and path only, at
	// most Limits.MaxNotificationLength long. (The stand-in also accepts http for a
	// host of this machine.)
	NotificationURL string
	// NotificationAuthToken is the secret that the service sends back as the bearer
	// token of each notification: letters, digits and -._~+/ only, at least as hard
	// to guess as 16 random bytes, at most Limits.MaxNotificationLength long.
	NotificationAuthToken Secret
	// NotificationTypes is the complete set of types to subscribe to: it replaces
	// the earlier one. With nil, Register subscribes to all of [NotificationTypes].
	NotificationTypes []NotificationType
	// MDMInfo claims the organizational unit. It silently replaces the claim of any
	// other device management service. With nil, Register uses the MDMInfo of
	// [WithOwner], if there is one.
	MDMInfo *MDMInfo
	// Handler, if set, accepts NotificationAuthToken from now on, and Register uses
	// it to explain why the service could not reach the URL. Leave it nil if the
	// receiver runs elsewhere and accepts the secret already.
	Handler *NotificationHandler
}

// Register tells the service where to send notifications, and checks that its
// answer repeats what was sent ([ErrAnswerDiffers], beside the answer).
// The receiver must be up, because the service delivers a test to it before it
// answers: listen first, and serve with [NotificationHandler.Serve] or a server
// of your own.
//
// The errors for which there is something to do say what:
// [ErrNotificationConfigIncomplete], [ErrNotificationConfigTooLong],
// [ErrNotificationURLInvalid], [ErrMDMInfoIncomplete] and above all
// [ErrNotificationURLUnreachable]. What is plainly wrong is also [ErrInvalid],
// and nothing is sent.
//
// To replace the secret without a gap, call Register with the new one: the
// handler accepts both from before the call on. Which of the two the test
// carries is not documented, and what the service delivers again later may
// carry the old one, so wait 15 minutes before [NotificationHandler.RemoveSecret].
// Several receivers must all accept the new secret before one of them registers.
//
// Synchronous. Retried like a read: the same registration twice is the same.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) Register(ctx context.Context, r Registration) (*ClientConfig, error) {
	if g := s.client.opts.guard; g != nil && r.MDMInfo == nil {
		r.MDMInfo = &g.ours
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("registering for notifications: %w", err)
	}
	secret, known, before := r.NotificationAuthToken, false, handlerSnapshot{}
	if h := r.Handler; h != nil {
		known, before = h.accepts(secret), h.seen.snapshot()
		if err := h.AddSecret(secret); err != nil {
			return nil, err
		}
	}
	types := r.NotificationTypes
	if types == nil {
		types = NotificationTypes()
	}
	config, err := s.updateClientConfig(ctx, Registration{
		MDMInfo: r.MDMInfo, NotificationURL: r.NotificationURL, NotificationAuthToken: r.NotificationAuthToken, NotificationTypes: types,
	}, false)
	if err != nil {
		var e *Error
		refused := errors.As(err, &e) && e.Number != 0 || errors.Is(err, ErrTakenOver)
		if r.Handler != nil && !known && refused {
			r.Handler.RemoveSecret(secret) // all is as it was
		}
		if advice := s.advice(&r, before, err); advice != "" {
			err = fmt.Errorf("%s: %w", advice, err)
		}
		return nil, fmt.Errorf("registering for notifications: %w", err)
	}
	if differs := r.compare(config); len(differs) > 0 {
		return config, fmt.Errorf("%w: %s", ErrAnswerDiffers, strings.Join(differs, ", "))
	}
	return config, nil
}

// bearerForm is what RFC 6750 allows as a bearer token.
var bearerForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// check refuses what the service would refuse, by the same errors.
func (r *Registration) check() error {
	secret := r.NotificationAuthToken.Reveal()
	if r.NotificationURL == "" || secret == "" {
		return fmt.Errorf("%w: give NotificationURL and NotificationAuthToken: %w", ErrInvalid, ErrNotificationConfigIncomplete)
	}
	u, err := url.Parse(r.NotificationURL)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(r.NotificationURL, "?#") ||
		u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, adviceURL, ErrNotificationURLInvalid)
	}
	if !bearerForm.MatchString(secret) {
		return invalidf("NotificationAuthToken must consist of letters, digits and -._~+/ only")
	}
	if r.MDMInfo != nil && r.MDMInfo.check() != nil {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, adviceMDMInfo, ErrMDMInfoIncomplete)
	}
	return nil
}

const (
	adviceURL     = "the notification URL must be https://, host and path, without user, query and fragment"
	adviceMDMInfo = "give the ID, the Name and the Metadata of MDMInfo, none of them empty"
)

// advice says what to do about a refusal; empty if there is nothing to say.
func (s *ConfigService) advice(r *Registration, before handlerSnapshot, err error) string {
	switch {
	case errors.Is(err, ErrNotificationConfigIncomplete):
		return "the service wants URL and secret together"
	case errors.Is(err, ErrNotificationConfigTooLong):
		limits := defaultLimits
		if c := s.cached.Load(); c != nil {
			limits = c.config.Limits.orDefaults()
		}
		return fmt.Sprintf("the URL has %d characters and the secret %d; the service takes %d of each",
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

// diagnose tells how far the service's test came.
func (r *Registration) diagnose(before handlerSnapshot) string {
	const outside = "its name resolve, its port be open and its certificate be trusted on the public internet"
	if r.Handler == nil {
		return "the receiver must be up, accept the secret and answer 2xx; and " + outside
	}
	switch now := r.Handler.seen.snapshot(); {
	case now.tests > before.tests:
		return "the handler accepted a test, but the service did not see its 2xx in time; look at what stands between them"
	case now.refused > before.refused:
		return "a request reached the handler without the secret; look for a proxy that removes or replaces the Authorization header"
	case now.requests > before.requests:
		return "a request reached the handler, which did not take it for a notification; its log says why"
	}
	return "nothing reached the handler; the URL must lead to it, " + outside
}

// compare lists what the service repeats otherwise. It need not repeat the
// secret, nor a type whose payload nobody knows.
func (r *Registration) compare(c *ClientConfig) []string {
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
	types := r.NotificationTypes
	if types == nil {
		types = NotificationTypes()
	}
	for _, t := range types {
		optional := t == NotificationTest || t == NotificationUnlimitedAsset && r.NotificationTypes == nil
		if !optional && !slices.Contains(c.SubscribedNotificationTypes, t) {
			differs = append(differs, "no "+string(t))
		}
	}
	for _, t := range c.SubscribedNotificationTypes {
		if !slices.Contains(types, t) {
			differs = append(differs, "also "+shorten(clean(string(t)), 40))
		}
	}
	return differs
}

// Unregister ends the subscription to all types of notifications, and leaves
// MDMInfo as it is. The API documents no way to do so: an empty set of types is
// the nearest thing, and what becomes of the URL is unknown. If the answer
// still shows a type, Unregister returns [ErrAnswerDiffers] beside it.
// Keep the receiver up for five minutes more, for what is on its way.
//
// Synchronous. Retried like a read.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) Unregister(ctx context.Context) (*ClientConfig, error) {
	config, err := s.ClientConfig(ctx)
	if err == nil {
		err = blank(config) // it would unset the MDMInfo
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
		return config, fmt.Errorf("unregistering from notifications: %w: %d types are still subscribed to", ErrAnswerDiffers, n)
	}
	return config, nil
}
