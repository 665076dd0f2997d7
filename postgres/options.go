package postgres

import (
	"context"
	"log/slog"
	"time"
)

type options struct {
	schema string
	lease  time.Duration
	keep   time.Duration
	wake   func(ctx context.Context, operations []string)
	logger *slog.Logger
}

// Option changes a default of [New].
type Option func(*options)

// WithSchema sets the name of the schema, "appsandbooks" by default.
func WithSchema(name string) Option { return func(o *options) { o.schema = name } }

// WithLease sets how long the claim of a process that died keeps others away,
// from operations and from notifications: 45 seconds by default. It must be
// more than NotificationHooks.HookTimeout. The claims of living processes are
// renewed in time, however long they work.
func WithLease(d time.Duration) Option { return func(o *options) { o.lease = d } }

// WithRetention sets how long finished operations are kept, 30 days by default.
func WithRetention(d time.Duration) Option { return func(o *options) { o.keep = d } }

// WithWake sets what is called when notifications have named all that
// operations wait for: make their jobs run now. It is called in the process that
// received the last of the notifications. Like these it is a hint, and may
// come twice or not at all.
func WithWake(f func(ctx context.Context, operations []string)) Option {
	return func(o *options) { o.wake = f }
}

// WithLogger sets where trouble in the background is told, slog's default logger by
// default.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }
