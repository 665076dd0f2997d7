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

// The code in docs/many-machines.md for other job engines.

// engine is what a durable job engine offers to a workflow.
type engine interface {
	// Do runs an activity in any process and records its result. If the process
	// dies, Do runs the activity again.
	Do(activity func(ctx context.Context) (next time.Time, err error)) (next time.Time, err error)
	// Sleep waits until a time or a signal, without a goroutine.
	Sleep(until time.Time)
}

// runOperation is the workflow of an operation.
func runOperation(e engine, step func(ctx context.Context) (time.Time, error)) error {
	for {
		next, err := e.Do(step)
		if err != nil || next.IsZero() {
			return err
		}
		e.Sleep(next)
	}
}

// stepOf returns the activity of the workflow: it runs one step of the operation.
func stepOf(store *postgres.Store, clientOf func(uid string) *appsandbooks.Client, id string) func(context.Context) (time.Time, error) {
	return func(ctx context.Context) (next time.Time, err error) {
		lease, err := store.Operations().Lease(ctx, id)
		if errors.Is(err, postgres.ErrFinished) {
			return time.Time{}, nil // a process died before the engine recorded its result
		}
		if err != nil {
			return time.Time{}, err // also ErrLeaseHeld: the engine tries again
		}
		op, err := lease.Resume(clientOf(lease.Unit))
		if err == nil {
			next, err = op.Step(lease.Context())
		}
		return next, errors.Join(err, lease.Release(context.WithoutCancel(ctx), op, next, err))
	}
}

// unreliableEngine is an engine that loses every third result, as if its process died.
type unreliableEngine struct {
	ctx  context.Context
	runs int
}

func (e *unreliableEngine) Sleep(until time.Time) { time.Sleep(time.Until(until)) }

func (e *unreliableEngine) Do(activity func(context.Context) (time.Time, error)) (time.Time, error) {
	for {
		next, err := activity(e.ctx)
		e.runs++
		if err == nil && e.runs%3 != 0 {
			return next, nil
		}
		if e.runs > 100 {
			return time.Time{}, err
		}
	}
}

// An operation finishes with an engine that runs steps again.
func TestOperations_Lease_otherEngine(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema)
	id := savePlanned(t, s, pool, srv, c, 2500)
	e := &unreliableEngine{ctx: t.Context()}
	require.NoError(t, runOperation(e, stepOf(s, func(string) *appsandbooks.Client { return c }, id)))
	require.Equal(t, 2500, statusOf(t, s, id).Succeeded)
	require.Len(t, srv.Unit().Assignments(), 2500)
}
