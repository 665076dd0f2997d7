package appsandbooks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOperation_Retry_repeatsOnlyFailedPairs(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := append(addAssets(srv, 1, 14), appsandbooks.AssetID{AdamID: "2000"})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2000", Total: 16})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: assets, ClientUserIDs: addUsers(srv, 8), SerialNumbers: names("C02", 8),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.NotErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 30, report.Succeeded)
		require.Equal(t, 2, report.Failed)
		requireLedgerAgrees(t, srv, report)

		// Retry sends the failed pairs again. They succeed, because the unit now has enough
		// licenses.
		srv.Unit().Purchase("1000", "STDQ", 2)
		sent := countPath(srv, "assets/associate")
		again, err := op.Retry(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, again.Plan().Pairs)
		require.Equal(t, 2, again.Report().Unsent)
		require.Equal(t, op.Unit(), again.Unit())
		require.Equal(t, sent, countPath(srv, "assets/associate"), "Retry sends nothing")
		report, err = again.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, report.Total)
		requireLedgerAgrees(t, srv, report)

		// Undo removes the assignments again.
		undo, err := op.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, "assets/disassociate", undo.Kind())
		require.Len(t, srv.Unit().Assignments(), 32, "Undo sends nothing")
		report, err = undo.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 30, report.Succeeded)
		require.Len(t, srv.Unit().Assignments(), 2)
	})
}

// Goroutines can save and read an operation while one of them waits for it. The others that wait
// get ErrBusy and the present report, and the requests are sent once.
func TestOperation_canBeSharedByGoroutines(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var op *appsandbooks.Operation
		var calls atomic.Int32
		check := func() {
			_, err := op.Save()
			assert.NoError(t, err)
			r, p := op.Report(), op.Progress()
			assert.Equal(t, 7500, r.Total)
			assert.Equal(t, 7500, r.Succeeded+r.Failed+r.Unconfirmed+r.Unsent)
			assert.Equal(t, 7500, p.Pairs)
			assert.Equal(t, 7500, p.Succeeded+p.Failed+p.Unconfirmed+p.Unsent)
			assert.Equal(t, 7500, op.Plan().Pairs)
			op.Next()
			assert.LessOrEqual(t, len(op.EventIDs()), 3)
		}
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 3, 3000), SerialNumbers: names("C02", 2500)},
			appsandbooks.WithPlanOnly(), appsandbooks.WithProgress(func(appsandbooks.Progress) { calls.Add(1); check() }))
		require.NoError(t, err)
		var wg sync.WaitGroup
		var busy, finished atomic.Int32
		for range 3 {
			wg.Go(func() {
				r, err := op.Wait(t.Context())
				assert.Equal(t, 7500, r.Total)
				if errors.Is(err, appsandbooks.ErrBusy) {
					busy.Add(1)
					return
				}
				finished.Add(1)
				assert.NoError(t, err)
				assert.Equal(t, 7500, r.Succeeded)
			})
		}
		wg.Go(func() {
			for range 20 {
				check()
				time.Sleep(time.Second) // virtual
			}
		})
		wg.Wait()
		require.NotZero(t, calls.Load())
		require.EqualValues(t, 2, busy.Load())
		require.EqualValues(t, 1, finished.Load())
		require.Equal(t, 3, countPath(srv, "assets/associate"))
		n := len(srv.Requests())
		require.NoError(t, op.Step(t.Context())) // nothing is left
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Len(t, srv.Requests(), n)
	})
}

// An operation that is printed does not show the ids that it holds.
func TestOperation_printsNoIDs(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 9), SerialNumbers: []string{"C02SECRET"}, ClientUserIDs: []string{"ada.lovelace"},
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			text := fmt.Sprintf(verb, op)
			require.NotContains(t, text, "C02SECRET")
			require.NotContains(t, text, "lovelace")
		}
	})
}

// A method that starts a change returns an operation or an error, never both. Without the limits
// or the organizational unit there is no operation.
func TestOperation_startsOnlyWithLimitsAndUnit(t *testing.T) {
	for _, path := range []string{"service/config", "client/config"} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			srv.AddFault(appsandbookstest.Fault{Path: path, Number: 9625, Times: 1})
			op, err := associateOne(t.Context(), srv, c)
			require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
			require.Nil(t, op)
			require.Zero(t, countPath(srv, "assets/associate"))

			op, err = c.Assets.Associate(t.Context(), deviceChange([]string{"C02"}))
			require.NoError(t, err)
			report, err := op.Wait(t.Context())
			require.NoError(t, err)
			requireLedgerAgrees(t, srv, report)
		})
	}
}

// An operation knows its organizational unit before it sends anything, and keeps it when it is
// saved.
func TestOperation_Unit_isKnownBeforeSending(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		require.Equal(t, srv.Unit().UID(), op.Unit())
		require.Zero(t, countPath(srv, "assets/associate"))
		saved, err := op.Save()
		require.NoError(t, err)
		resumed, err := c.Resume(saved)
		require.NoError(t, err)
		require.Equal(t, op.Unit(), resumed.Unit())
		require.Equal(t, op.ID(), resumed.ID())
	})
}

// Retry and Undo need an operation at its end. They hand over each pair once.
func TestOperation_Retry_handsOverEachPairOnce(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		handOvers := func(op *appsandbooks.Operation) map[string]func() (*appsandbooks.Operation, error) {
			return map[string]func() (*appsandbooks.Operation, error){
				"Retry": func() (*appsandbooks.Operation, error) { return op.Retry(t.Context()) },
				"Undo":  func() (*appsandbooks.Operation, error) { return op.Undo(t.Context()) },
			}
		}
		addAssets(srv, 1, 2)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)), appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		unfinished := func() {
			for name, handOver := range handOvers(op) {
				derived, err := handOver()
				require.ErrorIs(t, err, appsandbooks.ErrUnfinished, name)
				require.Nil(t, derived)
			}
		}
		unfinished() // it is only planned
		require.NoError(t, op.Step(t.Context()))
		unfinished() // its event is pending
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 2, report.Succeeded)
		_, more := op.Next()
		require.False(t, more)

		saved, err := op.Save() // before the pairs are handed over
		require.NoError(t, err)
		pairs := map[string]int{"Retry": 1, "Undo": 2}
		for name, handOver := range handOvers(op) {
			derived, err := handOver()
			require.NoError(t, err, name)
			require.Equal(t, pairs[name], derived.Plan().Pairs, name)
			require.NotEqual(t, op.ID(), derived.ID())
			again, err := handOver()
			require.ErrorIs(t, err, appsandbooks.ErrInvalid, name)
			require.ErrorContains(t, err, derived.ID())
			require.Nil(t, again)
		}
		older, err := c.Resume(saved)
		require.NoError(t, err)
		for name, handOver := range handOvers(older) {
			_, err := handOver()
			require.ErrorIs(t, err, appsandbooks.ErrBusy, "%s of an older copy", name)
		}
		saved, err = op.Save()
		require.NoError(t, err)
		resumed, err := c.Resume(saved)
		require.NoError(t, err)
		for name, handOver := range handOvers(resumed) {
			_, err := handOver()
			require.ErrorIs(t, err, appsandbooks.ErrInvalid, "%s after Resume", name)
		}
	})
}

// Retry and Undo without a pair to hand over, and Undo of a change without an inverse, are
// invalid.
func TestOperation_Undo_refusesWhatCannotBeUndone(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		_, err = op.Retry(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "no pair has failed")

		revoke, err := c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{SerialNumbers: []string{"C02"}})
		require.NoError(t, err)
		_, err = revoke.Wait(t.Context())
		require.NoError(t, err)
		_, err = revoke.Undo(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "a revocation has no inverse")

		srv.Unit().Purchase("1000", "STDQ", -1)
		failed, err := c.Assets.Associate(t.Context(), deviceChange([]string{"C03"}))
		require.NoError(t, err)
		_, err = failed.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		_, err = failed.Undo(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "no pair has succeeded")
	})
}

// An Operation cannot be restored from JSON without a client, and an Operation that no client
// has made is invalid everywhere, without a panic.
func TestOperation_Save_isForResumeOnly(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		saved, err := op.Save()
		require.NoError(t, err)
		require.True(t, json.Valid(saved))
		var restored appsandbooks.Operation
		err = json.Unmarshal(saved, &restored)
		require.ErrorIs(t, err, appsandbooks.ErrInvalid)
		require.ErrorContains(t, err, "Client.Resume")
	})
	zero := new(appsandbooks.Operation)
	_, err := zero.Save()
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	report, err := zero.Wait(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	require.Zero(t, report.Total)
	_, err = zero.Verify(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	require.ErrorIs(t, zero.Step(t.Context()), appsandbooks.ErrInvalid)
	_, err = zero.Retry(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	_, err = zero.Undo(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	_, more := zero.Next()
	require.False(t, more)
	require.Zero(t, zero.Progress())
	require.Zero(t, zero.Plan())
	require.Empty(t, zero.EventIDs())
	require.NotEmpty(t, fmt.Sprint(zero, (*appsandbooks.Operation)(nil)))
}

// Undo waits while an earlier request for a pair may still be carried out: it would bring back what
// Undo removes. After six stall times the request can no longer be carried out.
func TestOperation_Undo_waitsForLostRequest(t *testing.T) {
	isFirst := true
	answer := func(srv *appsandbookstest.Server, r *http.Request) (*http.Response, error) {
		if isFirst && strings.HasSuffix(r.URL.Path, "/assets/associate") {
			isFirst = false
			return nil, deliverLate(srv, r, 20*time.Minute)
		}
		return nil, nil
	}
	behindTransport(t, nil, answer, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithResendLost())
		require.NoError(t, err)
		lost := time.Now()
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
		undo, err := op.Undo(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUnfinished)
		require.Nil(t, undo)
		time.Sleep(time.Until(lost.Add(time.Hour - time.Second))) // virtual
		require.ErrorIs(t, errorOf(op.Undo(t.Context())), appsandbooks.ErrUnfinished)

		time.Sleep(time.Minute) // virtual
		undo, err = op.Undo(t.Context())
		require.NoError(t, err)
		report, err = undo.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, report.Succeeded)
		time.Sleep(time.Hour) // virtual
		require.Empty(t, srv.Unit().Assignments())
	})
}

// When the journal fails once, Retry and Undo return an error and no operation. The next call
// returns the operation that has the pairs.
func TestOperation_Retry_returnsOperationAfterJournalFailed(t *testing.T) {
	for _, undo := range []bool{false, true} {
		t.Run(fmt.Sprint("undo ", undo), func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				if !undo {
					srv.Unit().FailNextEvent(9644)
				}
				full := error(nil)
				op, err := associateOne(t.Context(), srv, c, appsandbooks.WithJournal(func(context.Context, []byte) error { return full }))
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.Equal(t, undo, err == nil)
				handOver := op.Retry
				if undo {
					handOver = op.Undo
				}
				full = errors.New("the disk is full")
				derived, err := handOver(t.Context())
				require.ErrorIs(t, err, full)
				require.Nil(t, derived)
				full = nil
				derived, err = handOver(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, derived.Plan().Pairs)
				_, err = derived.Wait(t.Context())
				require.NoError(t, err)
				require.ErrorIs(t, errorOf(handOver(t.Context())), appsandbooks.ErrInvalid)
			})
		})
	}
}

// A crash right after Retry loses no pair: the journal of the new operation has its plan before the
// journal of the first one says that the pairs are with it.
func TestOperation_Retry_crashLosesNoPair(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var first, second []byte
		srv.Unit().FailNextEvent(9644)
		op, err := associateOne(t.Context(), srv, c, journalTo(&first))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.Error(t, err)
		derived, err := op.Retry(t.Context(), journalTo(&second))
		require.NoError(t, err)

		other := newClient(t, srv) // of the process after the crash
		defer other.Close()
		op, err = other.Resume(first)
		require.NoError(t, err)
		_, err = op.Retry(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid)
		require.ErrorContains(t, err, derived.ID())
		resumed, err := other.Resume(second)
		require.NoError(t, err)
		require.Equal(t, derived.ID(), resumed.ID())
		report, err := resumed.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, report.Succeeded)
		requireLedgerAgrees(t, srv, report)
	})
}
