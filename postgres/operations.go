package postgres

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/appsandbooks/appsandbooks"
)

// Put keeps an operation that was planned ([appsandbooks.PlanOnly]) and not
// begun, for the organizational unit with the given uId. It is part of tx, so
// that the operation and the job that carries it are there together or not at all.
func (s *Store) Put(ctx context.Context, tx pgx.Tx, uid string, op *appsandbooks.Operation) error {
	saved, err := op.MarshalJSON()
	if err != nil {
		return err
	}
	line := string(saved) + "\n"
	p := op.Progress()
	var batch pgx.Batch
	batch.Queue(s.sql(`INSERT INTO {schema}.operations
		(id, unit, last_entry, snapshot_bytes, requests, pairs, due_at) VALUES ($1, $2, 1, $3, $4, $5, clock_timestamp())`),
		op.ID(), uid, len(line), p.Requests, p.Pairs)
	batch.Queue(s.sql(`INSERT INTO {schema}.journal (operation, entry, line) VALUES ($1, 1, $2)`), op.ID(), line)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("postgres: keeping operation %s: %w", op.ID(), err)
	}
	return nil
}

// Load reads an operation, for [appsandbooks.Client.Resume], without claiming
// it: to look at its report, not to carry it.
func (s *Store) Load(ctx context.Context, id string) (saved []byte, err error) {
	saved, err = s.load(ctx, s.pool, id)
	if err == nil && len(saved) == 0 {
		err = ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("postgres: operation %s: %w", id, err)
	}
	return saved, nil
}

func (s *Store) load(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, id string,
) ([]byte, error) {
	rows, err := db.Query(ctx, s.sql(`SELECT line FROM {schema}.journal WHERE operation = $1 ORDER BY entry`), id)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return []byte(strings.Join(lines, "")), err
}

// OperationStatus is the summary of an operation as of its last release.
type OperationStatus struct {
	ID          string
	Unit        string
	State       string // "planned", "submitted" or "done"
	Carried     bool   // by a process, now
	Requests    int
	Accepted    int
	Pairs       int
	Succeeded   int
	Failed      int
	Unconfirmed int
	Created     time.Time
	Due         time.Time // of the next step; zero when there is none
	Finished    time.Time // zero while it is not
	Problem     string    // the error of the last step
}

// Operations yields the operations of a unit (of all units if uid is empty),
// those not finished first; with open only these.
func (s *Store) Operations(ctx context.Context, uid string, open bool) iter.Seq2[OperationStatus, error] {
	return func(yield func(OperationStatus, error) bool) {
		rows, err := s.pool.Query(ctx, s.sql(`
			SELECT id, unit, state, coalesce(leased_until > clock_timestamp(), false),
				requests, accepted, pairs, succeeded, failed, unconfirmed,
				created_at, due_at, finished_at, coalesce(problem, '')
			FROM {schema}.operations
			WHERE ($1 = '' OR unit = $1) AND (NOT $2 OR finished_at IS NULL)
			ORDER BY finished_at IS NOT NULL, created_at, id`), uid, open)
		if err != nil {
			yield(OperationStatus{}, fmt.Errorf("postgres: operations: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var o OperationStatus
			var due, finished *time.Time
			err := rows.Scan(&o.ID, &o.Unit, &o.State, &o.Carried, &o.Requests, &o.Accepted, &o.Pairs,
				&o.Succeeded, &o.Failed, &o.Unconfirmed, &o.Created, &due, &finished, &o.Problem)
			if due != nil && finished == nil {
				o.Due = *due
			}
			if finished != nil {
				o.Finished = *finished
			}
			if err != nil {
				yield(o, fmt.Errorf("postgres: operations: %w", err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(OperationStatus{}, fmt.Errorf("postgres: operations: %w", err))
		}
	}
}
