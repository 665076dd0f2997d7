package postgres

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// These are the errors of this package. Compare them with [errors.Is].
var (
	// ErrLeaseHeld means that another process has the lease of the operation.
	ErrLeaseHeld = errors.New("postgres: another process has the lease")
	// ErrLeaseLost means that this process no longer has the lease of the
	// operation or of the notification. Another process may have it. The database
	// refused the write.
	ErrLeaseLost = errors.New("postgres: this process no longer has the lease")
	// ErrFinished means that the operation is finished and cannot be leased.
	ErrFinished = errors.New("postgres: the operation is finished")
	// ErrNotFound means that no operation with this id is stored.
	ErrNotFound = errors.New("postgres: operation not found")
	// ErrClockSkew means that the clock of this machine differs from the clock of
	// the database by more than five seconds. Synchronize the machine's clock.
	ErrClockSkew = errors.New("postgres: the clock of this machine differs from the clock of the database")
)

// A Store is the access of one process to the shared database. Each process
// creates one with [New]. It is safe for concurrent use.
type Store struct {
	db         *database
	retention  time.Duration
	operations *Operations
	inbox      *Inbox
	wakeups    *Wakeups
	limiters   *limiters
}

// New returns a store that uses the connections of pool. It does not connect to
// the database. It fails if an option is nil or has an invalid value.
func New(pool *pgxpool.Pool, opts ...Option) (*Store, error) {
	if pool == nil {
		return nil, errors.New("postgres: New: the pool is nil")
	}
	o := defaultOptions()
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("postgres: New: an option is nil")
		}
		if err := opt(&o); err != nil {
			return nil, fmt.Errorf("postgres: %w", err)
		}
	}
	db := &database{
		pool: pool, name: o.schema, schema: pgx.Identifier{o.schema}.Sanitize(),
		channel: o.schema + "_wake", logger: o.logger,
	}
	wakeups := newWakeups(db, o.ready)
	return &Store{
		db: db, retention: o.retention, wakeups: wakeups,
		operations: &Operations{db: db, leaseTime: o.leaseTime, wakeups: wakeups},
		inbox:      &Inbox{db: db, leaseTime: o.leaseTime, leases: map[string]int64{}},
		limiters:   &limiters{db: db, process: randomID(), units: map[string]*Limiter{}},
	}, nil
}

// randomID returns a positive random number that identifies a process or a lease.
func randomID() int64 {
	var id [8]byte
	cryptorand.Read(id[:])
	return int64(binary.BigEndian.Uint64(id[:]) >> 1)
}

// Operations returns the part of the store that keeps operations.
func (s *Store) Operations() *Operations { return s.operations }

// Inbox returns the part of the store that records which notifications are handled.
func (s *Store) Inbox() *Inbox { return s.inbox }

// Wakeups returns the part of the store that passes notifications to other processes.
func (s *Store) Wakeups() *Wakeups { return s.wakeups }

// Limiter returns the limiter of the organizational unit with the given uId. Each
// call with the same uId returns the same limiter.
func (s *Store) Limiter(uid string) *Limiter { return s.limiters.get(uid) }

// Run does the background work of a process until ctx ends, and then returns
// nil. It stores the notifications that this process received, receives the
// notifications and pauses that other processes stored, and calls [Store.Prune]
// about every ten minutes. Call it once in each process.
//
// Run holds one connection for LISTEN in addition to those of the pool. While that
// connection is down, Run reads new notifications from the database every second.
// Errors are logged as warnings, and the work is tried again.
func (s *Store) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { s.wakeups.storeQueued(ctx) })
	group.Go(func() { newListener(s).run(ctx) })
	group.Go(func() {
		for sleep(ctx, 5*time.Minute+rand.N(10*time.Minute)) == nil {
			if err := s.Prune(ctx); err != nil && ctx.Err() == nil {
				s.db.warn("deleting old rows failed", err)
			}
		}
	})
	group.Wait()
	return nil
}
