package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// requireBusy calls all methods that carry an operation out, and requires that each of them
// returns ErrBusy, and does so at once. There are two exceptions: Wait and Step of an operation at
// its end have nothing to carry out, and Retry and Undo before that return ErrUnfinished.
func requireBusy(t testing.TB, op *appsandbooks.Operation) {
	t.Helper()
	began := time.Now()
	_, more := op.Next()
	report, waitErr := op.Wait(t.Context())
	stepErr := op.Step(t.Context())
	handOver := appsandbooks.ErrBusy
	if more {
		require.ErrorIs(t, waitErr, appsandbooks.ErrBusy)
		require.ErrorIs(t, stepErr, appsandbooks.ErrBusy)
		handOver = appsandbooks.ErrUnfinished
	} else {
		require.NotErrorIs(t, waitErr, appsandbooks.ErrBusy)
		require.NotErrorIs(t, stepErr, appsandbooks.ErrBusy)
	}
	require.Equal(t, op.Report().String(), report.String())
	require.ErrorIs(t, errorOf(op.Retry(t.Context())), handOver)
	require.ErrorIs(t, errorOf(op.Undo(t.Context())), handOver)
	report, err := op.Verify(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrBusy)
	require.NotNil(t, report)
	require.Zero(t, time.Since(began))
}

// saveAndResume returns a copy of an operation, as another process gets it.
func saveAndResume(t testing.TB, c *appsandbooks.Client, op *appsandbooks.Operation, opts ...appsandbooks.OperationOption) *appsandbooks.Operation {
	t.Helper()
	saved, err := op.Save()
	require.NoError(t, err)
	resumed, err := c.Resume(saved, opts...)
	require.NoError(t, err)
	return resumed
}

// While one call carries out an operation, every other call returns ErrBusy at once, also with a
// copy of the operation. The first call is not disturbed.
func TestOperation_Wait_isBusyForOtherCalls(t *testing.T) {
	for name, carry := range map[string]func(ctx context.Context, op *appsandbooks.Operation) error{
		"Wait":   func(ctx context.Context, op *appsandbooks.Operation) error { return errorOf(op.Wait(ctx)) },
		"Verify": func(ctx context.Context, op *appsandbooks.Operation) error { return errorOf(op.Verify(ctx)) },
		"Step":   func(ctx context.Context, op *appsandbooks.Operation) error { return op.Step(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			options := []appsandbookstest.Option{appsandbookstest.WithLatency(2 * time.Second)}
			inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				op, err := associateOne(t.Context(), srv, c)
				require.NoError(t, err)
				if name == "Verify" { // it reads back only what has finished
					_, err = op.Wait(t.Context())
					require.NoError(t, err)
				}
				time.Sleep(6 * time.Second) // virtual: the first poll is due
				twin := saveAndResume(t, c, op)
				done := make(chan error, 1)
				go func() { done <- carry(t.Context(), op) }()
				time.Sleep(time.Second) // virtual: half of the latency
				requireBusy(t, op)
				requireBusy(t, twin)
				requireBusy(t, saveAndResume(t, c, op))
				require.NoError(t, <-done)
				report, err := op.Wait(t.Context())
				require.NoError(t, err)
				requireLedgerAgrees(t, srv, report)
				require.Equal(t, 1, countPath(srv, "assets/associate"))
			})
		})
	}
}

// A client does not continue a copy of an operation that is older than what it has done already:
// the copy would send again what was sent. A copy that is as new as the operation can go on, and
// then the operation itself is the older one.
func TestClient_Resume_isBusyForOlderCopy(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		planned, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		older, twin := saveAndResume(t, c, planned), saveAndResume(t, c, planned)
		require.NoError(t, twin.Step(t.Context())) // sends
		requireBusy(t, older)
		requireBusy(t, planned)
		require.Equal(t, 1, older.Report().Unsent, "an older copy can still be read")
		require.Equal(t, 1, countPath(srv, "assets/associate"))

		newest := saveAndResume(t, c, twin)
		report, err := newest.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
		requireBusy(t, twin)
		_, err = newest.Wait(t.Context())
		require.NoError(t, err, "the newest copy is at its end")
		require.Equal(t, 1, countPath(srv, "assets/associate"))
	})
}

// After an ErrBusy the newest copy can still be carried out. Resuming a copy, or failing to carry
// one, does not make it newer.
func TestClient_Resume_copyStaysUsableAfterErrBusy(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		for range 3 {
			op = saveAndResume(t, c, op)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = op.Wait(ended)
		require.ErrorIs(t, err, context.Canceled)
		op = saveAndResume(t, c, op)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// Clients do not know of each other: another client continues a copy, as another process does.
func TestClient_Resume_otherClientContinues(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		other := newClient(t, srv)
		defer other.Close()
		copied := saveAndResume(t, other, op)
		report, err := copied.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
		require.Equal(t, 1, countPath(srv, "assets/associate"))
	})
}

// The functions of a journal and of WithProgress that call the operation back get ErrBusy. They
// neither block nor disturb the operation, whichever call carries it.
func TestWithJournal_functionThatCallsBackIsBusy(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var op *appsandbooks.Operation
		calls := 0
		callBack := func() {
			if op != nil {
				calls++
				requireBusy(t, op)
				requireBusy(t, saveAndResume(t, c, op))
			}
		}
		addAssets(srv, 1, 2)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)), appsandbooks.WithPlanOnly(),
			appsandbooks.WithJournal(func(context.Context, []byte) error { callBack(); return nil }),
			appsandbooks.WithProgress(func(appsandbooks.Progress) { callBack() }))
		require.NoError(t, err)
		expectCalls := func() {
			require.Positive(t, calls)
			calls = 0
		}
		require.NoError(t, op.Step(t.Context()))
		expectCalls()
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.NotErrorIs(t, err, appsandbooks.ErrBusy)
		expectCalls()
		_, err = op.Retry(t.Context())
		require.NoError(t, err)
		expectCalls()
		_, err = op.Undo(t.Context())
		require.NoError(t, err)
		expectCalls()
		requireLedgerAgrees(t, srv, op.Report())
		require.Equal(t, 1, countPath(srv, "assets/associate"))
	})
}

// When the journal fails, the client may continue from what the journal has. From then on the
// Operation that wrote it has diverged: it is busy, and sends no pair again.
func TestClient_Resume_isBusyForDivergedCopy(t *testing.T) {
	options := []appsandbookstest.Option{oneDevicePerRequest(), appsandbookstest.WithEventDelay(time.Hour)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 10)
		var journal []byte
		isDown := false
		write := func(_ context.Context, entry []byte) error {
			if isDown = isDown || bytes.Contains(entry, []byte(`"accepted"`)); isDown {
				return errors.New("the database is down")
			}
			journal = append(journal, entry...)
			return nil
		}
		old, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 5)), appsandbooks.WithJournal(write))
		require.NoError(t, err)
		isDown = false
		require.Equal(t, 4, countPath(srv, "assets/associate"))
		resumed, err := c.Resume(journal, journalTo(&journal))
		require.NoError(t, err)
		require.NoError(t, resumed.Step(t.Context()))
		require.Equal(t, 5, countPath(srv, "assets/associate"))
		requireBusy(t, old)
		requireBusy(t, old)
		require.Equal(t, 5, countPath(srv, "assets/associate"))
	})
}
