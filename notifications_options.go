package appsandbooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// NotificationOption changes a default of [NewNotificationHandler]. It fails on a
// value that makes no sense.
type NotificationOption func(*notificationOptions) error

type notificationOptions struct {
	secrets        []Secret
	requestSecrets func(r *http.Request) ([]Secret, error)
	unitSecrets    func(ctx context.Context, uid string) ([]Secret, error)
	notify         func(n *Notification)
	deduper        Deduper
	logger         *slog.Logger
	maxBody        int64
	maxConcurrent  int
	readTimeout    time.Duration
	hookTimeout    time.Duration
}

// WithNotificationSecrets makes the handler accept notifications with any of the
// secrets: the NotificationAuthToken that the service was given by
// [ConfigService.Register], and, while it is being replaced, the one before. The
// secrets can be changed later, with [NotificationHandler.AddSecret] and
// [NotificationHandler.RemoveSecret].
func WithNotificationSecrets(secrets ...Secret) NotificationOption {
	return func(o *notificationOptions) error { o.secrets = append(o.secrets, secrets...); return nil }
}

// WithRequestSecrets makes the handler also accept the secrets that f returns for
// a request: by its path, for example, if each unit has a notification URL of its
// own. The handler calls f before it reads the body. When f returns an error, the
// handler answers 503.
func WithRequestSecrets(f func(r *http.Request) ([]Secret, error)) NotificationOption {
	return func(o *notificationOptions) error {
		if f == nil {
			return errors.New("WithRequestSecrets: nil")
		}
		o.requestSecrets = f
		return nil
	}
}

// WithUnitSecrets makes the handler accept a notification only if its secret is
// one of those that f returns for its organizational unit. So many units can share
// one URL, and no unit can send notifications for another. The handler calls f
// after it has read the notification, so the secret must also be accepted without
// f: pass the secrets of all units to [WithNotificationSecrets]. When f returns no
// secrets, the unit is unknown, and the handler answers 401. When f returns an
// error, the handler answers 503.
func WithUnitSecrets(f func(ctx context.Context, uid string) ([]Secret, error)) NotificationOption {
	return func(o *notificationOptions) error {
		if f == nil {
			return errors.New("WithUnitSecrets: nil")
		}
		o.unitSecrets = f
		return nil
	}
}

// WithNotify makes the handler call f with every notification, the service's tests
// included, before the hook. It is for waking those who wait for events, and f must
// return at once. For one organizational unit, f is [Client.Notify]:
//
//	appsandbooks.WithNotify(client.Notify)
//
// For many units, f finds the client:
//
//	appsandbooks.WithNotify(func(n *appsandbooks.Notification) {
//		if c := clients[n.UID]; c != nil {
//			c.Notify(n)
//		}
//	})
func WithNotify(f func(n *Notification)) NotificationOption {
	return func(o *notificationOptions) error {
		if f == nil {
			return errors.New("WithNotify: nil")
		}
		o.notify = f
		return nil
	}
}

// WithDeduper sets what remembers the notifications that were handled. By default
// each handler has its own [NewDeduper], in memory.
func WithDeduper(d Deduper) NotificationOption {
	return func(o *notificationOptions) error {
		if d == nil {
			return errors.New("WithDeduper: nil")
		}
		o.deduper = d
		return nil
	}
}

// WithNotificationLogger sets the logger, which gets a line for each request that
// is not answered with 2xx, and for each notification that the SDK cannot read when
// there is no hook. Secrets are never logged. By default nothing is logged.
func WithNotificationLogger(l *slog.Logger) NotificationOption {
	return func(o *notificationOptions) error {
		if l == nil {
			return errors.New("WithNotificationLogger: nil")
		}
		o.logger = l
		return nil
	}
}

// WithNotificationLimits sets the largest body in bytes (default 256 KiB; 100
// elements have about 20 KiB), and how many notifications are read or handled at
// the same time (default 64). Further ones wait for up to two seconds and then get
// 503. A zero leaves a limit as it is.
func WithNotificationLimits(maxBody int64, maxConcurrent int) NotificationOption {
	return func(o *notificationOptions) error {
		if maxBody < 0 || maxConcurrent < 0 {
			return fmt.Errorf("WithNotificationLimits: %d bytes, %d at the same time", maxBody, maxConcurrent)
		}
		o.maxBody, o.maxConcurrent = cmp.Or(maxBody, o.maxBody), cmp.Or(maxConcurrent, o.maxConcurrent)
		return nil
	}
}

// WithNotificationTimeouts sets how long the handler waits for a body (default 10
// s), and how long the hook may take for one notification (default 30 s). A zero
// leaves a time as it is.
func WithNotificationTimeouts(read, hook time.Duration) NotificationOption {
	return func(o *notificationOptions) error {
		if read < 0 || hook < 0 {
			return fmt.Errorf("WithNotificationTimeouts: %s, %s", read, hook)
		}
		o.readTimeout, o.hookTimeout = cmp.Or(read, o.readTimeout), cmp.Or(hook, o.hookTimeout)
		return nil
	}
}
