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

// Registration is where notifications go, and who receives them.
type Registration struct {
	// URL receives the notifications: https, host and path only. (The stand-in
	// takes http for a host of this machine.)
	URL string
	// Secret comes back as the bearer token of each notification: letters,
	// digits and -._~+/ only, at least as hard to guess as 16 random bytes.
	Secret Secret
	// Types is the complete set to subscribe to; nil means [NotificationTypes].
	Types []NotificationType
	// MDMInfo claims the organizational unit; nil means that of [WithOwner], or
	// none without it.
	MDMInfo *MDMInfo
	// Handler, if it is given, accepts Secret from now on, and helps to explain
	// why the service could not reach it. Leave it nil if the receiver runs
	// elsewhere and accepts the secret already.
	Handler *NotificationHandler
}

// Register tells the service where to send notifications, and checks that its
// answer repeats what was sent ([ErrRegistrationDiffers], beside the answer).
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
	secret, known, before := r.Secret.Reveal(), false, tally{}
	if h := r.Handler; h != nil {
		known, before = h.accepts(secret), h.seen.tally()
		if err := h.AddSecret(secret); err != nil {
			return nil, err
		}
	}
	types := r.Types
	if types == nil {
		types = NotificationTypes()
	}
	config, err := s.SetClient(ctx, ClientConfigUpdate{
		MDMInfo: r.MDMInfo, NotificationURL: r.URL, NotificationAuthToken: r.Secret, NotificationTypes: types,
	})
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
		return config, fmt.Errorf("%w: %s", ErrRegistrationDiffers, strings.Join(differs, ", "))
	}
	return config, nil
}

// bearerForm is what RFC 6750 allows as a bearer token.
var bearerForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// check refuses what the service would refuse, by the same errors.
func (r *Registration) check() error {
	secret := r.Secret.Reveal()
	if r.URL == "" || secret == "" {
		return fmt.Errorf("%w: give URL and Secret: %w", ErrInvalid, ErrNotificationConfigIncomplete)
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(r.URL, "?#") ||
		u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, adviceURL, ErrNotificationURLInvalid)
	}
	if !bearerForm.MatchString(secret) {
		return invalidf("Secret must consist of letters, digits and -._~+/ only")
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
func (s *ConfigService) advice(r *Registration, before tally, err error) string {
	switch {
	case errors.Is(err, ErrNotificationConfigIncomplete):
		return "the service wants URL and secret together"
	case errors.Is(err, ErrNotificationConfigTooLong):
		limits := defaultLimits
		if c := s.cached.Load(); c != nil {
			limits = c.config.Limits.orDefaults()
		}
		return fmt.Sprintf("the URL has %d characters and the secret %d; the service takes %d of each",
			utf8.RuneCountInString(r.URL), utf8.RuneCountInString(r.Secret.Reveal()), limits.MaxNotificationLength)
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
func (r *Registration) diagnose(before tally) string {
	const outside = "its name resolve, its port be open and its certificate be trusted on the public internet"
	if r.Handler == nil {
		return "the receiver must be up, accept the secret and answer 2xx; and " + outside
	}
	switch now := r.Handler.seen.tally(); {
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
	if c.NotificationURL != r.URL {
		differs = append(differs, "notificationUrl")
	}
	if got := c.NotificationAuthToken; !got.IsZero() && got.Reveal() != r.Secret.Reveal() {
		differs = append(differs, "notificationAuthToken")
	}
	if r.MDMInfo != nil && (c.MDMInfo == nil || *c.MDMInfo != *r.MDMInfo) {
		differs = append(differs, "mdmInfo")
	}
	types := r.Types
	if types == nil {
		types = NotificationTypes()
	}
	for _, t := range types {
		optional := t == NotificationTest || t == NotificationUnlimitedAsset && r.Types == nil
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
// still shows a type, Unregister returns [ErrRegistrationDiffers] beside it.
// Keep the receiver up for five minutes more, for what is on its way.
//
// Synchronous. Retried like a read.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) Unregister(ctx context.Context) (*ClientConfig, error) {
	config, err := s.Client(ctx)
	if err == nil {
		err = blank(config) // it would unset the MDMInfo
	}
	if err == nil {
		config, err = s.SetClient(ctx, ClientConfigUpdate{
			MDMInfo: config.MDMInfo, NotificationTypes: []NotificationType{},
		})
	}
	if err != nil {
		return nil, fmt.Errorf("unregistering from notifications: %w", err)
	}
	if n := len(config.SubscribedNotificationTypes); n > 0 {
		return config, fmt.Errorf("unregistering from notifications: %w: %d types are still subscribed to", ErrRegistrationDiffers, n)
	}
	return config, nil
}
