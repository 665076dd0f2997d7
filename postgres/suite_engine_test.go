//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// What docs/many-machines.md shows of other engines.

// engine is what a durable engine offers to the code of a workflow.
type engine interface {
	// Do runs an activity on some machine, again if that machine dies, and
	// records what it returned.
	Do(activity func(ctx context.Context) (next time.Time, err error)) (next time.Time, err error)
	// Sleep waits without a goroutine, until a time or a signal.
	Sleep(until time.Time)
}

// carry is the workflow of an operation.
func carry(e engine, step func(ctx context.Context) (time.Time, error)) error {
	for {
		next, err := e.Do(step)
		if err != nil || next.IsZero() {
			return err
		}
		e.Sleep(next)
	}
}

// stepOf is its activity: one step of the operation.
func stepOf(store *postgres.Store, clientOf func(uid string) *appsandbooks.Client, id string) func(context.Context) (time.Time, error) {
	return func(ctx context.Context) (next time.Time, err error) {
		claim, err := store.Claim(ctx, id)
		if errors.Is(err, postgres.ErrFinished) {
			return time.Time{}, nil // the machine before died between the end and its record
		}
		if err != nil {
			return time.Time{}, err // ErrHeld: the engine tries again
		}
		op, err := claim.Resume(clientOf(claim.Unit))
		if err == nil {
			next, err = op.Step(claim.Context())
		}
		return next, errors.Join(err, claim.Release(context.WithoutCancel(ctx), op, next, err))
	}
}

// An engine whose machines die now and then.
type shaky struct {
	ctx context.Context
	n   int
}

func (e *shaky) Sleep(until time.Time) { time.Sleep(time.Until(until)) }

func (e *shaky) Do(activity func(context.Context) (time.Time, error)) (time.Time, error) {
	for {
		next, err := activity(e.ctx)
		e.n++
		if err == nil && e.n%3 != 0 { // else the record of it is lost
			return next, nil
		}
		if e.n > 100 {
			return time.Time{}, err
		}
	}
}

func TestOtherEngines(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema)
	id := put(t, s, pool, srv, c, 2500)
	e := &shaky{ctx: t.Context()}
	require.NoError(t, carry(e, stepOf(s, func(string) *appsandbooks.Client { return c }, id)))
	require.Equal(t, 2500, statusOf(t, s, id).Succeeded)
	require.Len(t, srv.Unit().Assignments(), 2500)
}
