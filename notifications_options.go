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

// NotificationOption changes a default of [NewNotificationHandler]. It returns an error
// if a value is not allowed.
type NotificationOption func(*notificationOptions) error

// notificationOptions are the settings of a handler; the options describe them.
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
// secrets. Pass the NotificationAuthToken of [ConfigService.Register] and, while it is
// being replaced, also the previous one. To change the secrets later, call
// [NotificationHandler.AddSecret] and [NotificationHandler.RemoveSecret].
func WithNotificationSecrets(secrets ...Secret) NotificationOption {
	return func(o *notificationOptions) error { o.secrets = append(o.secrets, secrets...); return nil }
}

// WithRequestSecrets makes the handler also accept the secrets that f returns for a
// request. If each organizational unit has its own notification URL, f can find the
// unit by the request's path. The handler calls f before it reads the body. When f
// returns an error, the handler answers 503.
func WithRequestSecrets(f func(r *http.Request) ([]Secret, error)) NotificationOption {
	return func(o *notificationOptions) error {
		if f == nil {
			return errors.New("WithRequestSecrets: the function is nil")
		}
		o.requestSecrets = f
		return nil
	}
}

// WithUnitSecrets makes the handler accept a notification only if its secret is one of
// those that f returns for the notification's organizational unit. Many units can then
// share one URL, and the secret of one unit is not accepted for another unit. The
// handler must accept the secret before it reads the notification, and it calls f
// after that: so pass the secrets of all units to [WithNotificationSecrets] too. When f
// returns no secrets, the handler answers 401. When f returns an error, it answers 503.
func WithUnitSecrets(f func(ctx context.Context, uid string) ([]Secret, error)) NotificationOption {
	return func(o *notificationOptions) error {
		if f == nil {
			return errors.New("WithUnitSecrets: the function is nil")
		}
		o.unitSecrets = f
		return nil
	}
}

// WithNotify makes the handler call f with every notification before the hook,
// including the service's tests. f informs the calls that wait for events, and must
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
			return errors.New("WithNotify: the function is nil")
		}
		o.notify = f
		return nil
	}
}

// WithDeduper sets the [Deduper], which remembers the notifications that the hook has
// handled. By default each handler has its own, in memory: [NewDeduper].
func WithDeduper(d Deduper) NotificationOption {
	return func(o *notificationOptions) error {
		if d == nil {
			return errors.New("WithDeduper: the deduper is nil")
		}
		o.deduper = d
		return nil
	}
}

// WithNotificationLogger sets the logger of a handler. The handler logs each request
// that it does not answer with 2xx, each panic of a hook, and each error of the
// [Deduper]. Without a hook, it also logs each notification that the SDK cannot read.
// It never logs secrets. By default a handler logs nothing.
func WithNotificationLogger(l *slog.Logger) NotificationOption {
	return func(o *notificationOptions) error {
		if l == nil {
			return errors.New("WithNotificationLogger: the logger is nil")
		}
		o.logger = l
		return nil
	}
}

// WithNotificationLimits sets the size of the largest body in bytes (default 256 KiB;
// 100 elements have about 20 KiB), and how many notifications are read or handled at
// the same time (default 64). Further notifications wait for at most two seconds, and
// then the handler answers 503. A zero does not change a limit.
func WithNotificationLimits(maxBody int64, maxConcurrent int) NotificationOption {
	return func(o *notificationOptions) error {
		if maxBody < 0 || maxConcurrent < 0 {
			return fmt.Errorf("WithNotificationLimits: a limit is negative: %d bytes, %d at the same time", maxBody, maxConcurrent)
		}
		o.maxBody, o.maxConcurrent = cmp.Or(maxBody, o.maxBody), cmp.Or(maxConcurrent, o.maxConcurrent)
		return nil
	}
}

// WithNotificationTimeouts sets how long the handler waits for a body (default 10 s),
// and how long the hook may take for one notification (default 30 s). A zero does not
// change a timeout.
func WithNotificationTimeouts(read, hook time.Duration) NotificationOption {
	return func(o *notificationOptions) error {
		if read < 0 || hook < 0 {
			return fmt.Errorf("WithNotificationTimeouts: a timeout is negative: %s, %s", read, hook)
		}
		o.readTimeout, o.hookTimeout = cmp.Or(read, o.readTimeout), cmp.Or(hook, o.hookTimeout)
		return nil
	}
}
