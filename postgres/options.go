package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

type options struct {
	schema    string
	leaseTime time.Duration
	retention time.Duration
	ready     func(ctx context.Context, operations []string)
	logger    *slog.Logger
}

func defaultOptions() options {
	return options{
		schema:    "appsandbooks",
		leaseTime: 45 * time.Second,
		retention: 30 * 24 * time.Hour,
		logger:    slog.Default(),
	}
}

// An Option changes a default of [New]. It returns an error if its value is invalid.
type Option func(*options) error

// maxSchemaName is the longest name of a schema in bytes. PostgreSQL cuts names at 63
// bytes, and the name of the notification channel is longer than the schema's.
const maxSchemaName = 50

// WithSchema sets the name of the schema: 1 to 50 bytes, "appsandbooks" by default.
func WithSchema(name string) Option {
	return func(o *options) error {
		if name == "" || len(name) > maxSchemaName {
			return fmt.Errorf("WithSchema: the name %q does not have 1 to %d bytes", name, maxSchemaName)
		}
		o.schema = name
		return nil
	}
}

// WithLeaseTime sets how long a lease of an operation or of a notification lasts without
// renewal: 45 seconds by default, one second at least. After the process with the lease
// has died, other processes wait for this time. The time must be longer than that of
// WithNotificationTimeouts. A running process renews the leases of its operations as long
// as the operations run. The lease of a notification is not renewed.
func WithLeaseTime(d time.Duration) Option {
	return func(o *options) error {
		if d < time.Second {
			return fmt.Errorf("WithLeaseTime: %s is shorter than one second", d)
		}
		o.leaseTime = d
		return nil
	}
}

// WithRetention sets how long finished operations are stored: 30 days by default.
func WithRetention(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 {
			return fmt.Errorf("WithRetention: %s is negative", d)
		}
		o.retention = d
		return nil
	}
}

// WithReadyFunc sets a function that is called when notifications have named all pairs
// that operations wait for. Its argument is the ids of these operations. Use the function
// to run their jobs at once. [Store.Run] calls it in the process that received the last
// of the notifications. The function can be called twice or never for an operation, so
// also run each job at the time that [appsandbooks.Operation.Next] returns.
func WithReadyFunc(f func(ctx context.Context, operations []string)) Option {
	return func(o *options) error {
		if f == nil {
			return errors.New("WithReadyFunc: the function is nil")
		}
		o.ready = f
		return nil
	}
}

// WithLogger sets the logger for errors of the store's background work. The default is
// [slog.Default].
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("WithLogger: the logger is nil")
		}
		o.logger = l
		return nil
	}
}
