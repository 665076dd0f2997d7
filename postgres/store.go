package postgres

import (
	"context"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
	cryptorand.Read(id[:])
	return &Store{
		pool: pool, schema: pgx.Identifier{o.schema}.Sanitize(), channel: o.schema + "_wake",
		holder: int64(binary.BigEndian.Uint64(id[:]) >> 1), opts: o,
		hints:  make(chan hint, 4096),
		claims: map[string]int64{}, watches: map[string]*watch{}, paces: map[string]*pace{},
	}, nil
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

// Run spreads notifications, listens to those that other machines receive, and
// prunes, until the context ends; it then returns nil. One call for each
// process. It holds one connection for LISTEN beside the pool; while that is down,
// it looks for notifications itself, every second.
func (s *Store) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { s.spread(ctx) })
	group.Go(func() { s.listen(ctx) })
	group.Go(func() {
		for pause(ctx, 5*time.Minute+rand.N(10*time.Minute)) == nil {
			if err := s.Prune(ctx); err != nil && ctx.Err() == nil {
				s.warn("pruning", err)
			}
		}
	})
	group.Wait()
	return nil
}

func (s *Store) warn(what string, err error) {
	s.opts.logger.Warn("appsandbooks/postgres: "+what, slog.Any("error", err))
}
