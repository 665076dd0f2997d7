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
	Do(activity func(ctx context.Context) (step, error)) (step, error)
	// Sleep waits until a time or a signal, without a goroutine.
	Sleep(until time.Time)
}

// step is the result of one step of an operation: when the next one is due, and whether there
// is one.
type step struct {
	Next time.Time
	More bool
}

// runOperation is the workflow of an operation.
func runOperation(e engine, activity func(ctx context.Context) (step, error)) error {
	for {
		done, err := e.Do(activity)
		if err != nil || !done.More {
			return err
		}
		e.Sleep(done.Next)
	}
}

// stepOf returns the activity of the workflow: it runs one step of the operation.
func stepOf(store *postgres.Store, clientOf func(uid string) *appsandbooks.Client, id string) func(context.Context) (step, error) {
	return func(ctx context.Context) (step, error) {
		lease, err := store.Operations().Lease(ctx, id)
		if errors.Is(err, postgres.ErrFinished) {
			return step{}, nil // a process died before the engine recorded its result
		}
		if err != nil {
			return step{}, err // also ErrLeaseHeld: the engine tries again
		}
		op, err := lease.Resume(clientOf(lease.Unit))
		if err != nil {
			return step{}, errors.Join(err, lease.Release(context.WithoutCancel(ctx), nil, err))
		}
		stepErr := op.Step(lease.Context())
		if err := lease.Release(context.WithoutCancel(ctx), op, stepErr); err != nil {
			return step{}, err
		}
		next, more := op.Next()
		if more {
			return step{next, more}, stepErr // why the operation stopped, or nil
		}
		return step{}, nil // the outcomes are in the report
	}
}

// unreliableEngine is an engine that loses every third result, as if its process died.
type unreliableEngine struct {
	ctx  context.Context
	runs int
}

func (e *unreliableEngine) Sleep(until time.Time) { time.Sleep(time.Until(until)) }

func (e *unreliableEngine) Do(activity func(context.Context) (step, error)) (step, error) {
	for {
		done, err := activity(e.ctx)
		e.runs++
		if err == nil && e.runs%3 != 0 {
			return done, nil
		}
		if e.runs > 100 {
			return step{}, err
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
