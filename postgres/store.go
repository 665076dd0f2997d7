package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/appsandbooks/appsandbooks"
)

// Errors of this package.
var (
	// ErrHeld: another process carries the operation.
	ErrHeld = errors.New("the operation is being carried by another process")
	// ErrLost: the lease of an operation, or the claim of a notification,
	// went to another process. What was to be written was not.
	ErrLost = errors.New("the lease was lost to another process")
	// ErrFinished: the operation is at its end.
	ErrFinished = errors.New("the operation is finished")
	// ErrUnknown: there is no such operation.
	ErrUnknown = errors.New("unknown operation")
	// ErrClock: the machine's clock is too far from the database's.
	ErrClock = errors.New("the machine's clock differs from the database's")
)

// Store keeps what processes share. Make it with [New], one for each process.
// It is safe for concurrent use.
type Store struct {
	pool    *pgxpool.Pool
	schema  string // quoted
	channel string // of LISTEN
	holder  int64  // this process
	opts    options

	hints chan hint // to be written by Run

	mu      sync.Mutex
	claims  map[string]int64 // of notifications, by key
	watches map[string]*watch
	paces   map[string]*pace
}

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

// New makes a store. It does not touch the database.
func New(pool *pgxpool.Pool, opts ...Option) (*Store, error) {
	o := options{schema: "appsandbooks", lease: 45 * time.Second, keep: 30 * 24 * time.Hour, logger: slog.Default()}
	for _, opt := range opts {
		opt(&o)
	}
	switch {
	case pool == nil:
		return nil, errors.New("postgres: no pool")
	case o.schema == "" || len(o.schema) > 50:
		return nil, fmt.Errorf("postgres: a schema called %q", o.schema)
	case o.lease < time.Second:
		return nil, fmt.Errorf("postgres: a lease of %s", o.lease)
	}
	var id [8]byte
	rand.Read(id[:])
	return &Store{
		pool: pool, schema: pgx.Identifier{o.schema}.Sanitize(), channel: o.schema + "_wake",
		holder: int64(binary.BigEndian.Uint64(id[:]) >> 1), opts: o,
		hints:  make(chan hint, 4096),
		claims: map[string]int64{}, watches: map[string]*watch{}, paces: map[string]*pace{},
	}, nil
}

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate makes the schema, or brings it up to date. Processes that start
// together wait for each other. A schema newer than this version of the package
// is an error.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/*.sql") // in order of their names
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, s.lockKey("migrate")); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.sql(`
			CREATE SCHEMA IF NOT EXISTS {schema};
			CREATE TABLE IF NOT EXISTS {schema}.migrations (
				version integer PRIMARY KEY,
				at timestamptz NOT NULL DEFAULT clock_timestamp()
			)`))
		if err != nil {
			return err
		}
		var have int
		if err := tx.QueryRow(ctx, s.sql(`SELECT coalesce(max(version), 0) FROM {schema}.migrations`)).Scan(&have); err != nil {
			return err
		}
		if have > len(files) {
			return fmt.Errorf("the schema has version %d, and this package knows %d", have, len(files))
		}
		for i, file := range files[have:] {
			text, err := migrations.ReadFile(file)
			if err != nil {
				return err
			}
			version := have + i + 1
			if _, err := tx.Exec(ctx, s.sql(string(text))); err != nil {
				return fmt.Errorf("version %d: %w", version, err)
			}
			if _, err := tx.Exec(ctx, s.sql(`INSERT INTO {schema}.migrations (version) VALUES ($1)`), version); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	return nil
}

// sql puts the schema's name into a statement.
func (s *Store) sql(text string) string { return strings.ReplaceAll(text, "{schema}", s.schema) }

// lockKey is an advisory lock of this schema.
func (s *Store) lockKey(what string) int64 {
	sum := sha256.Sum256([]byte("appsandbooks/" + s.opts.schema + "/" + what))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// short stands for a unit in the payload of NOTIFY, which has room for 8000 bytes.
func short(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:8])
}

// seconds is a duration for an interval parameter.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) + " seconds"
}

// maxSkew is how far the clock of a machine may be from the database's. The times
// in a journal are a machine's, and another one takes them up.
const maxSkew = 5 * time.Second

// checkClock compares a reading of the database's clock with ours around it.
func checkClock(before, database, after time.Time) error {
	var off time.Duration
	switch {
	case database.Before(before):
		off = before.Sub(database)
	case database.After(after):
		off = database.Sub(after)
	}
	if off > maxSkew {
		return fmt.Errorf("%w by %s", ErrClock, off.Round(time.Second))
	}
	return nil
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var _ appsandbooks.Deduper = (*Store)(nil)
