package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// What other clients of such services got wrong: each test states what holds.

// transported is a client over a transport of the test's.
func transported(t *testing.T, rt roundTripper, opts ...appsandbooks.Option) *appsandbooks.Client {
	t.Helper()
	c, err := appsandbooks.NewClient(stoken, append([]appsandbooks.Option{appsandbooks.WithHTTPClient(&http.Client{Transport: rt})}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// associateOne asks for one licence on one device.
func associateOne(ctx context.Context, srv *appsandbookstest.Server, c *appsandbooks.Client, opts ...appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: addAssets(srv, 1, 1), SerialNumbers: []string{"C02"}}, opts...)
}

// Each attempt has one Authorization header and the whole body, whatever became
// of the last.
func TestEachAttemptIsWhole(t *testing.T) {
	var seen []string
	c := transported(t, func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		seen = append(seen, fmt.Sprint(r.Header["Authorization"], r.Header["Content-Type"], r.ContentLength, string(body)))
		r.Header.Set("Authorization", "spoiled by a transport")
		return &http.Response{StatusCode: 500, Header: http.Header{}, Body: readCloser(`{"errorNumber":9603}`)}, nil
	}, appsandbooks.WithRetry(3, 0, 0))
	require.ErrorIs(t, c.Do(t.Context(), "POST", "users/create", nil, map[string]int{"a": 1}, nil), appsandbooks.ErrInternal)
	want := "[Bearer " + stoken + `] [application/json] 7{"a":1}`
	require.Equal(t, []string{want, want, want}, seen)
}

// Clients that share an http.Client keep their tokens apart, and leave it as it is.
func TestClientsKeepTheirTokens(t *testing.T) {
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		uid := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer secret-of-")
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(fmt.Sprintf(`{"uId":%q}`, uid))}, nil
	})
	shared := &http.Client{Transport: rt}
	var wg sync.WaitGroup
	for i := range 8 {
		c, err := appsandbooks.NewClient(fmt.Sprintf("secret-of-%d", i), appsandbooks.WithHTTPClient(shared))
		require.NoError(t, err)
		defer c.Close()
		for range 4 {
			wg.Go(func() {
				config, err := c.Config.ClientConfig(t.Context())
				if assert.NoError(t, err) {
					assert.Equal(t, fmt.Sprint(i), config.UID)
				}
			})
		}
	}
	wg.Wait()
	require.Zero(t, shared.Timeout)
	require.Nil(t, shared.CheckRedirect)
}

// A rate limit that never ends costs a bounded number of requests, and the
// report says what was not sent.
func TestRateLimitForEver(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := addAssets(srv, 1, 100_000)
		srv.AddFault(appsandbookstest.Fault{Path: "assets", Number: 9646})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 50_000)})
		require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)
		require.LessOrEqual(t, countPath(srv, "assets/associate"), 4*5, "four at a time, five attempts each")
		require.Equal(t, 50_000, op.Report().Failed)
		for o := range op.Report().Problems() {
			require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
		}
	})
}

// A call whose context has ended already sends nothing.
func TestEndedContextSendsNothing(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		reason := errors.New("the caller went home")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		_, err := c.Users.List(ctx, appsandbooks.UserFilter{})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, drain(c.Assignments.All(ctx, appsandbooks.AssignmentFilter{})), reason)
		_, err = associateOne(ctx, srv, c)
		require.ErrorIs(t, err, reason)
		synctest.Wait()
		for _, r := range srv.Requests() { // the limits are everybody's
			require.Equal(t, "service/config", r.Path)
		}
	})
}

// Limits that are missing, zero, negative or huge lead to no endless loop and
// to no request too many.
func TestSenselessLimits(t *testing.T) {
	for _, limits := range []string{
		`{}`, `{"limits":null}`,
		`{"limits":{"maxAssets":0,"maxSerialNumbers":0,"maxClientUserIds":0,"maxRequestPerSecond":0}}`,
		`{"limits":{"maxAssets":-1,"maxSerialNumbers":-1000,"maxClientUserIds":-9223372036854775808,"maxRequestPerSecond":-15}}`,
		`{"limits":{"maxAssets":9223372036854775807,"maxSerialNumbers":9223372036854775807,"maxRequestPerSecond":9223372036854775807}}`,
	} {
		t.Run(limits, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: "service/config", Status: 200, Body: limits})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 25, 10), SerialNumbers: []string{"C02"}})
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, countPath(srv, "assets/associate"))
			})
		})
	}
}

// Limits that shrink, or that the configuration tells too late, cost requests
// and no pairs.
func TestLimitsThatAreBehind(t *testing.T) {
	toOne := func(l *appsandbookstest.Limits) { l.MaxAssets, l.MaxSerialNumbers, l.MaxClientUserIDs = 1, 1, 1 }
	fewer := func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 400 }
	for name, test := range map[string]struct {
		shrink          func(*appsandbookstest.Limits)
		stale           bool // the configuration goes on naming the old ones
		assets, devices int
		requests        int // at most
		opts            []appsandbooks.OperationOption
	}{
		"to one":              {shrink: toOne, assets: 3, devices: 4, requests: 1 + 12},
		"untold":              {shrink: fewer, stale: true, assets: 1, devices: 1000, requests: 1 + 2 + 4},
		"untold, bisection":   {shrink: fewer, stale: true, assets: 1, devices: 1000, requests: 1 + 2 + 4, opts: []appsandbooks.OperationOption{appsandbooks.WithBisection()}},
		"untold, and smaller": {shrink: toOne, stale: true, assets: 2, devices: 4, requests: 1 + 2 + 4 + 8},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				_, err := c.Config.ServiceConfig(t.Context())
				require.NoError(t, err)
				if test.stale {
					srv.AddFault(appsandbookstest.Fault{Path: "service/config", Status: 200, Body: `{"limits":{"maxAssets":25,"maxSerialNumbers":1000}}`})
				}
				srv.SetLimits(test.shrink)
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: addAssets(srv, test.assets, 2000), SerialNumbers: names("C02", test.devices),
				}, test.opts...)
				require.NoError(t, err)
				r, err := op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, test.assets*test.devices, r.Succeeded)
				require.LessOrEqual(t, countPath(srv, "assets/associate"), test.requests)
				requireLedgerAgrees(t, srv, r)
			})
		})
	}
}

// A service that finds any request too large is not asked again and again.
func TestLimitsThatNothingMeets(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9702})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 5000), SerialNumbers: names("C02", 3000)})
		require.ErrorIs(t, err, appsandbooks.ErrTooManySerialNumbers)
		require.Equal(t, 3000, op.Report().Failed)
		require.Less(t, countPath(srv, "assets/associate"), 50)
	})
}

// What is named twice, in the product and among the pairs, is asked for once.
func TestDuplicatesAreAskedForOnce(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 2)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets:        []appsandbooks.AssetID{{AdamID: "1000"}, {AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ}},
			SerialNumbers: []string{"C02", "C03", "C02"},
			Pairs: []appsandbooks.AssetPair{
				{AdamID: "1000", SerialNumber: "C02"},
				{AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ, SerialNumber: "C02"},
				{AdamID: "1000", SerialNumber: "C03"},
			},
		})
		require.NoError(t, err)
		r, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, r.Total)
		requireLedgerAgrees(t, srv, r)
	})
	c, r := recordedClient(t, `{"uId":"1"}`)
	err := c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1, 1}, ClientUserIDs: []string{"a", "a", "b"}})
	require.NoError(t, err)
	jsonEqual(t, `{"adamIds":[1],"clientUserIds":["a","b"]}`, r.bodies[0])
}

// One pair beside a product costs one request, not another way to cut the product.
func TestOnePairBesideAProduct(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		change := appsandbooks.AssetChange{Assets: addAssets(srv, 40, 1), SerialNumbers: names("C02", 2500)}
		for _, pairs := range [][]appsandbooks.AssetPair{nil, {{AdamID: "999", SerialNumber: "X"}}} {
			change.Pairs = pairs
			op, err := c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly())
			require.NoError(t, err)
			require.Equal(t, 2*3+len(pairs), op.Plan().Requests)
			require.Equal(t, 40*2500+len(pairs), op.Plan().Pairs)
		}
	})
}

// What the caller does with its slices afterwards is its own affair, and they
// stay as they were.
func TestInputIsNotKept(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 2)
		change := appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1000"}}, SerialNumbers: []string{"C02", "C03"}}
		op, err := c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		require.Equal(t, appsandbooks.AssetID{AdamID: "1000"}, change.Assets[0])
		change.Assets[0].AdamID, change.SerialNumbers[0] = "1", "X"
		r, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, r)
		require.True(t, srv.Unit().HasAssignment(appsandbookstest.Assignment{AdamID: "1000", PricingParam: "STDQ", SerialNumber: "C02"}))
	})
}

// Ids that differ in case or in their Unicode form are different, and come back
// as they went.
func TestIDsAreNotFolded(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		ids := []string{
			"ada", "Ada", "caf\u00e9", "cafe\u0301", "a/b", "a%2Fb", "a&b=c", "a+b", "a b", `a\b`, `a"b`, "<a>", "\u2028", "😀",
			strings.Repeat("u", 500),
		}
		var requests []appsandbooks.UserRequest
		for _, id := range ids {
			requests = append(requests, appsandbooks.UserRequest{ClientUserID: id, Email: "x@example.com"})
		}
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: requests})
		require.NoError(t, err)
		r, err := op.Wait(t.Context())
		require.NoError(t, err)
		var reported []string
		for o := range r.Outcomes() {
			reported = append(reported, o.ClientUserID)
		}
		require.Equal(t, ids, reported)
		for _, id := range ids {
			users, err := appsandbooks.Collect(c.Users.All(t.Context(), appsandbooks.UserFilter{ClientUserID: id}))
			require.NoError(t, err)
			require.Len(t, users, 1, "%q", id)
			require.Equal(t, id, users[0].ClientUserID)
		}
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
	})
}

// Input that the service would take for something else is refused, and the
// error says where it stands.
func TestUnusableInputIsRefused(t *testing.T) {
	c, r := recordedClient(t)
	associate := func(change appsandbooks.AssetChange) error {
		return errorOf(c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly()))
	}
	app := []appsandbooks.AssetID{{AdamID: "1"}}
	for _, serial := range []string{" ", "\t", "C02\r", "C02\n", " C02", "C 02", "\ufeffC02", "C02\x00"} {
		err := associate(appsandbooks.AssetChange{Assets: app, SerialNumbers: []string{"C01", serial}})
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "%q", serial)
		require.ErrorContains(t, err, "SerialNumbers[1]")
	}
	for _, id := range []string{"id361309726", " 361309726", "361309726\n", "0361309726", "361,309", "-5", "+5", "0", "1e3", "9223372036854775808"} {
		err := associate(appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1"}, {AdamID: id}}, SerialNumbers: []string{"C02"}})
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "%q", id)
		require.ErrorContains(t, err, "Assets[1]")
	}
	many := names("C02", 10_000)
	many[7777] = ""
	for want, err := range map[string]error{
		"SerialNumbers[7777]": associate(appsandbooks.AssetChange{Assets: app, SerialNumbers: many}),
		"ClientUserIDs[7777]": associate(appsandbooks.AssetChange{Assets: app, ClientUserIDs: many}),
		"Pairs[1]": associate(appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{
			{AdamID: "1", SerialNumber: "C02"}, {AdamID: "1", SerialNumber: "C02\n"},
		}}),
		"Assets[0]": associate(appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1", PricingParam: "A\xff"}}, SerialNumbers: []string{"C02"}}),
		"Users[1]": errorOf(c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{
			{ClientUserID: "a"}, {ClientUserID: "b", Email: "\xff@example.com"},
		}}, appsandbooks.WithPlanOnly())),
		"": c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{""}}),
	} {
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, r.requests)
}

// A loop that is left in an unusual way leaves nothing behind, and the next one
// begins at the beginning.
func TestLoopsThatAreLeft(t *testing.T) {
	for name, leave := range map[string]func(iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]){
		"Goexit": func(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range pages { //nolint:errcheck // it is left at once
					runtime.Goexit()
				}
			}()
			<-done
		},
		"Pull": func(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) {
			next, stop := iter.Pull2(pages)
			_, _, _ = next()
			stop()
		},
		"Pull, not begun": func(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) {
			_, stop := iter.Pull2(pages)
			stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, slowPages(100*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				fillPages(srv, 0, 30)
				_, err := c.Config.ServiceConfig(t.Context())
				require.NoError(t, err)
				pages := c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})
				leave(pages)
				sent := len(srv.Requests())
				time.Sleep(time.Hour) // virtual
				require.Len(t, srv.Requests(), sent)
				require.Equal(t, numbersUpTo(30), pageIndexes(t, pages))
			})
		})
	}
}

// One iterator in several goroutines at once gives everything to each.
func TestIteratorSharedByGoroutines(t *testing.T) {
	inVirtualTime(t, slowPages(10*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 7)
		pages := c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { assert.Equal(t, numbersUpTo(7), pageIndexes(t, pages)) })
		}
		wg.Wait()
	})
}

// Loops within loops do not starve each other of the five page reads.
func TestLoopsWithinLoops(t *testing.T) {
	inVirtualTime(t, slowPages(10*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 6)
		var walk func(depth int) int
		walk = func(depth int) (n int) {
			for _, err := range c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}) {
				require.NoError(t, err)
				if n++; n == 1 && depth > 0 {
					n += walk(depth - 1)
				}
			}
			return n
		}
		require.Equal(t, 8*6, walk(7))
	})
}

// A loop with a slow body does not hold up the others.
func TestSlowLoopHoldsUpNoOther(t *testing.T) {
	const n, latency = 40, 10 * time.Millisecond
	inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, n)
		next := make(chan struct{})
		var slow sync.WaitGroup
		slow.Go(func() {
			for _, err := range c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}) {
				assert.NoError(t, err)
				<-next
			}
		})
		time.Sleep(time.Second) // it has read ahead what it may
		began := time.Now()
		require.Equal(t, numbersUpTo(n), pageIndexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		require.Equal(t, shortestTimeOfPages(n, latency), time.Since(began))
		close(next)
		slow.Wait()
	})
}

// Page numbers and totals that make no sense end the walk soon.
func TestSenselessPageNumbers(t *testing.T) {
	for name, test := range map[string]struct {
		page func(index, read int) string
		want string
		most int // requests
	}{
		"huge": {func(index, _ int) string {
			if index > 0 {
				return invalidPageIndexJSON
			}
			return `{"assignments":[],"currentPageIndex":0,"nextPageIndex":9223372036854775807,"totalPages":9223372036854775807}`
		}, "9650", 16},
		"huge total": {func(index, _ int) string {
			if index > 0 {
				return invalidPageIndexJSON
			}
			return pageJSON(0, 1, math.MaxInt64, "v1")
		}, "9650", 16},
		"negative total": {func(index, _ int) string {
			if index > 0 {
				return invalidPageIndexJSON
			}
			return pageJSON(0, 1, -5, "v1")
		}, "9650", 16},
		"negative next page": {func(int, int) string {
			return `{"assignments":[],"currentPageIndex":0,"nextPageIndex":-1,"totalPages":3}`
		}, "no progress", 16},
		"empty pages for ever": {func(index, _ int) string { return pageJSON(index, index+1, 3, "v1") }, "no progress", 150},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scriptedPages{latency: time.Millisecond, page: test.page}
				c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: s}))
				require.NoError(t, err)
				defer c.Close()
				steps := walkSteps(c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}))
				require.Equal(t, test.want, steps[len(steps)-1])
				require.LessOrEqual(t, len(s.order), test.most)
			})
		})
	}
}

// An answer in which nothing is a page of the list is no empty list.
func TestAnswerWithoutAPage(t *testing.T) {
	for _, body := range []string{`null`, `{}`, `{"message":"ok"}`, `{"users":null}`} {
		t.Run(body, func(t *testing.T) {
			c, _ := sameAnswerClient(t, 200, []byte(body))
			defer c.Close()
			require.Equal(t, 200, isError(t, drain(c.Users.All(t.Context(), appsandbooks.UserFilter{}))).StatusCode)
		})
	}
}

// A list without records costs one request, and is no error.
func TestEmptyUnit(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets, err := appsandbooks.Collect(c.Assets.All(t.Context(), appsandbooks.AssetFilter{}))
		require.NoError(t, err)
		require.Empty(t, assets)
		seats, err := appsandbooks.Collect(c.SubscriptionAssignments.All(t.Context(), appsandbooks.SubscriptionAssignmentFilter{}))
		require.NoError(t, err)
		require.Empty(t, seats)
		require.Len(t, srv.Requests(), 2)
	})
}

// A token that is refused ends a walk, a waiter and an operation with many
// events after a look or a few.
func TestRefusedTokenIsNoFlood(t *testing.T) {
	inVirtualTime(t, slowPages(10*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 30)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 90_000), SerialNumbers: names("C02", 40_000)})
		require.NoError(t, err)
		require.Len(t, op.EventIDs(), 40)
		srv.AddFault(appsandbookstest.Fault{Number: 9625})
		srv.ResetRequests()
		err = drain(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}))
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.NotErrorIs(t, err, appsandbooks.ErrTokenExpired)
		require.Len(t, srv.Requests(), 1)
		_, err = c.Status.Wait(t.Context(), op.EventIDs()[0])
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.Len(t, srv.Requests(), 2)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.LessOrEqual(t, len(srv.Requests()), 2+4, "those under way")
	})
}

// A refusal that is not the service's own ends a wait at once, and the
// operation is as good as before.
func TestWaitersStopAtRefusals(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 405, 410, 451} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			op, err := associateOne(t.Context(), srv, c)
			require.NoError(t, err)
			srv.AddFault(appsandbookstest.Fault{Path: "status", Status: status, Body: "<html>no"})
			_, err = op.Wait(t.Context())
			require.Equal(t, status, isError(t, err).StatusCode)
			require.Equal(t, 1, countPath(srv, "status"))
			srv.ClearFaults()
			r, err := op.Wait(t.Context())
			require.NoError(t, err)
			requireLedgerAgrees(t, srv, r)
		})
	}
}

// Steps that a job engine makes never ask to be called again at once for ever.
func TestStepsDoNotSpin(t *testing.T) {
	for name, fault := range map[string]appsandbookstest.Fault{
		"none":          {Path: "nothing"},
		"9603":          {Path: "status", Number: 9603},
		"no answer":     {Path: "status", Kind: appsandbookstest.FaultResetAfter},
		"unknown event": {Path: "status", Number: 9708},
		"no reading":    {Path: "assignments", Status: 502, Body: "x"},
		"unknown state": {Path: "status", Status: 200, Body: `{"eventStatus":"THINKING"}`},
		"no state":      {Path: "status", Status: 200, Body: `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 100), SerialNumbers: names("C02", 3)})
				require.NoError(t, err)
				srv.AddFault(fault)
				began, steps := time.Now(), 0
				for {
					next, err := op.Step(t.Context())
					if next.IsZero() || err != nil {
						break
					}
					steps++
					require.Less(t, steps, 60)
					time.Sleep(time.Until(next)) // virtual
				}
				require.Less(t, time.Since(began), time.Hour)
			})
		})
	}
}

// Several waiters, a saver and a watcher share one operation, and it is carried out once.
func TestOperationIsShared(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var op *appsandbooks.Operation
		var calls atomic.Int32
		look := func() {
			_, err := op.MarshalJSON()
			assert.NoError(t, err)
			r := op.Report()
			assert.Equal(t, 7500, r.Succeeded+r.Failed+r.Unconfirmed)
			assert.Equal(t, 7500, op.Progress().Pairs)
			assert.LessOrEqual(t, len(op.EventIDs()), 3)
		}
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 3, 3000), SerialNumbers: names("C02", 2500)},
			appsandbooks.WithPlanOnly(), appsandbooks.WithProgress(func(appsandbooks.Progress) { calls.Add(1); look() }))
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				r, err := op.Wait(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, 7500, r.Succeeded)
			})
		}
		wg.Go(func() {
			for range 20 {
				look()
				time.Sleep(time.Second) // virtual
			}
		})
		wg.Wait()
		require.NotZero(t, calls.Load())
		require.Equal(t, 3, countPath(srv, "assets/associate"))
		n := len(srv.Requests())
		require.NoError(t, op.Submit(t.Context())) // nothing is left
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Len(t, srv.Requests(), n)
	})
}

// A journal may look at the operation that it keeps.
func TestJournalLooksAtItsOperation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var op *appsandbooks.Operation
		entries := 0
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly(), appsandbooks.WithJournal(func(context.Context, []byte) error {
			entries++
			require.NotEmpty(t, op.ID())
			require.Equal(t, 1, op.Report().Total)
			require.Equal(t, 1, op.Plan().Pairs)
			require.Equal(t, 1, op.Progress().Requests)
			return nil
		}))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.GreaterOrEqual(t, entries, 4) // the plan, sending, its event, its outcome
	})
}

// Calls of a client that is closed, before or meanwhile, say so; nobody's
// context has ended.
func TestCallsOfAClosedClient(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, time.Second, 5050 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			inVirtualTime(t, slowPages(100*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
				fillPages(srv, 0, 20)
				assets := addAssets(srv, 1, 100)
				c := newClient(t, srv)
				calls := map[string]func() error{
					"walk":   func() error { return drain(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{})) },
					"config": func() error { return errorOf(c.Config.ServiceConfig(t.Context())) },
					"operation": func() error {
						op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{"C02"}})
						if err != nil {
							return err
						}
						return errorOf(op.Wait(t.Context()))
					},
				}
				var wg sync.WaitGroup
				for name, call := range calls {
					wg.Go(func() {
						err := call()
						if err == nil { // it was faster
							return
						}
						assert.ErrorIs(t, err, appsandbooks.ErrClosed, name)
						assert.NotErrorIs(t, err, context.Canceled, name)
					})
				}
				time.Sleep(after) // virtual
				for range 3 {
					wg.Go(c.Close)
				}
				wg.Wait()
				c.Close()
				for name, call := range calls {
					if name == "config" && after >= 150*time.Millisecond {
						continue // which is answered from memory
					}
					err := call()
					require.ErrorIs(t, err, appsandbooks.ErrClosed, name)
					require.NotErrorIs(t, err, context.Canceled, name)
				}
			})
		})
	}
}

// Neither net/http nor anybody else writes to the standard logger.
func TestNothingOnTheStandardLogger(t *testing.T) {
	var text bytes.Buffer
	before := log.Writer()
	log.SetOutput(&text)
	defer log.SetOutput(before)
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		for _, kind := range []appsandbookstest.FaultKind{
			appsandbookstest.FaultDial, appsandbookstest.FaultResetAfter, appsandbookstest.FaultCutBody, appsandbookstest.FaultRespond,
		} {
			srv.AddFault(appsandbookstest.Fault{Kind: kind, Times: 1})
		}
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
	})
	require.Empty(t, text.String())
}

// A base URL with a port, an IPv6 host, slashes at its end or escaped
// characters is used as it is.
func TestBaseURLs(t *testing.T) {
	for base, want := range map[string]string{
		"https://[2001:db8::1]:8443":           "https://[2001:db8::1]:8443/users",
		"https://mdm.example.com/":             "https://mdm.example.com/users",
		"https://mdm.example.com/mdm/v2":       "https://mdm.example.com/mdm/v2/users",
		"https://mdm.example.com/mdm/v2//":     "https://mdm.example.com/mdm/v2/users",
		"https://mdm.example.com/a%20b/":       "https://mdm.example.com/a%20b/users",
		"https://mdm.example.com/t%2F1/mdm/v2": "https://mdm.example.com/t%2F1/mdm/v2/users",
	} {
		var asked string
		c := transported(t, func(r *http.Request) (*http.Response, error) {
			asked = r.URL.String()
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(`{"users":[]}`)}, nil
		}, appsandbooks.WithBaseURL(base))
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		require.Equal(t, want, asked)
	}
}

// A proxy that refuses is told apart from the service, gets no token, and no
// write has left.
func TestProxyThatRefuses(t *testing.T) {
	var seen atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(fmt.Sprint(r.Method, r.Header["Authorization"], r.Header["Proxy-Authorization"]))
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	tr := &http.Transport{Proxy: http.ProxyURL(address)}
	defer tr.CloseIdleConnections()
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: tr}), appsandbooks.WithRetry(1, 0, 0))
	require.NoError(t, err)
	defer c.Close()
	err = c.Do(t.Context(), "POST", "users/create", nil, map[string]int{}, nil)
	require.ErrorContains(t, err, "Proxy Authentication Required")
	require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
	require.Equal(t, "CONNECT[] []", seen.Load())
}

// A write that the service took on a kept connection and did not answer is not
// sent again, not by net/http either.
func TestWriteOnAConnectionThatIsClosed(t *testing.T) {
	var writes atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if writes.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"eventId":"e"}`)
	}))
	defer srv.Close()
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(srv.URL))
	require.NoError(t, err)
	defer c.Close()
	write := func() error { return c.Do(t.Context(), "POST", "users/create", nil, map[string]int{"a": 1}, nil) }
	require.NoError(t, write())
	require.ErrorIs(t, write(), appsandbooks.ErrAmbiguous)
	require.EqualValues(t, 2, writes.Load())
	require.NoError(t, write())
}

// Transports that break the contract of http.RoundTripper lead to errors, not to panics.
func TestOddTransports(t *testing.T) {
	for name, rt := range map[string]roundTripper{
		"no body": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}}, nil
		},
		"status 0": func(*http.Request) (*http.Response, error) {
			return &http.Response{Header: http.Header{}, Body: readCloser("{}")}, nil
		},
		"no header": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Body: readCloser("x")}, nil
		},
	} {
		c := transported(t, rt, appsandbooks.WithRetry(2, 0, 0))
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NotEmpty(t, isError(t, err).Error(), name)
	}
}

// A pause is not made shorter by a shorter one.
func TestPausesNeverShrink(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		limiter := appsandbooks.NewLimiter()
		c := newClient(t, srv, appsandbooks.WithLimiter(limiter))
		defer c.Close()
		began := time.Now()
		for _, pause := range []time.Duration{time.Minute, time.Second, 0, -time.Hour} {
			limiter.Pause(pause)
		}
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(began))
	})
}

// A pause is read from any answer that asks for one: also inside HTTP 200, and
// by the clock of who asks.
func TestPausesInOddAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		number int
		header http.Header
		want   time.Duration
	}{
		"HTTP 200": {200, 9646, http.Header{"Retry-After": {"60"}}, time.Minute},
		"a clock that is behind": {503, 9729, http.Header{
			"Date": {"Fri, 31 Dec 1999 22:00:00 GMT"}, "Retry-After": {"Fri, 31 Dec 1999 22:01:30 GMT"},
		}, 90 * time.Second},
		"a clock that is ahead": {503, 9729, http.Header{
			"Date": {"Sat, 01 Jan 2000 02:00:00 GMT"}, "Retry-After": {"Sat, 01 Jan 2000 02:01:30 GMT"},
		}, 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				c := transported(t, func(*http.Request) (*http.Response, error) {
					if asked++; asked == 1 {
						body := readCloser(fmt.Sprintf(`{"errorNumber":%d}`, test.number))
						return &http.Response{StatusCode: test.status, Header: test.header, Body: body}, nil
					}
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(`{"users":[]}`)}, nil
				})
				began := time.Now()
				_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
				require.NoError(t, err)
				require.Equal(t, test.want, time.Since(began))
			})
		})
	}
}

// Who has no time for a pause is told of it at once, also behind others who wait it out.
func TestPauseIsToldBehindThePatient(t *testing.T) {
	for name, test := range map[string]struct {
		path   string
		places int // as many calls leave no room for one more
		call   func(context.Context, *appsandbooks.Client) error
	}{
		"page reads": {"users", 5, func(ctx context.Context, c *appsandbooks.Client) error {
			return errorOf(c.Users.List(ctx, appsandbooks.UserFilter{}))
		}},
		"the rate": {"client/config", 15, func(ctx context.Context, c *appsandbooks.Client) error {
			return errorOf(c.Config.ClientConfig(ctx))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: test.path, Number: 9729, Header: http.Header{"Retry-After": {"200"}}, Times: 1})
				var patient sync.WaitGroup
				for range test.places + 2 {
					patient.Go(func() { assert.NoError(t, test.call(t.Context(), c)) })
					synctest.Wait()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				began := time.Now()
				require.Equal(t, 200*time.Second, isError(t, test.call(ctx, c)).RetryAfter)
				require.Zero(t, time.Since(began))
				patient.Wait()
			})
		})
	}
}

// Who waits for the pace already when a pause begins is told of it, too.
func TestPauseIsToldInTheQueue(t *testing.T) {
	inVirtualTime(t, []appsandbookstest.Option{appsandbookstest.WithLatency(100 * time.Millisecond)}, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "client/config", Number: 9729, Header: http.Header{"Retry-After": {"200"}}, Times: 1})
		var patient sync.WaitGroup
		for range 15 + 1 { // the rate, and one at the head of the queue
			patient.Go(func() { assert.NoError(t, errorOf(c.Config.ClientConfig(t.Context()))) })
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		began := time.Now()
		_, err := c.Config.ClientConfig(ctx)
		require.Equal(t, 200*time.Second, isError(t, err).RetryAfter)
		require.Equal(t, 100*time.Millisecond, time.Since(began))
		patient.Wait()
	})
}

// The longest durations are what they seem, also where times are added or doubled.
func TestLongestDurations(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, test := range []struct {
		attempts  int
		min, most time.Duration
	}{
		{31, 30 * time.Second, time.Minute},
		{25, time.Hour, time.Hour},
		{3, longest, longest},
	} {
		t.Run(fmt.Sprint("retry ", test), func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
				c := newClient(t, srv, appsandbooks.WithRetry(test.attempts, test.min, test.most))
				defer c.Close()
				srv.AddFault(appsandbookstest.Fault{Number: 9603})
				ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
				defer cancel()
				began := time.Now()
				_, err := c.Users.List(ctx, appsandbooks.UserFilter{})
				require.ErrorIs(t, err, appsandbooks.ErrInternal)
				if test.most < longest {
					require.Equal(t, test.attempts, isError(t, err).Attempts)
					require.LessOrEqual(t, time.Since(began), time.Duration(test.attempts)*test.most)
				}
			})
		})
	}
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		time.Sleep(6 * time.Second) // virtual
		_, err = op.Step(t.Context())
		require.NoError(t, err)
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		other := newClient(t, srv, appsandbooks.WithMaxPause(longest), appsandbooks.WithStallTime(longest), appsandbooks.WithTimeout(longest))
		defer other.Close()
		op, err = other.Resume(saved)
		require.NoError(t, err)
		next, err := op.Step(t.Context())
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Until(next), 29*time.Second)
		require.Equal(t, 1, countPath(srv, "status"), "the distance between two looks is kept")
	})
}

// A time limit for the attempts counts beside that of the caller's http.Client.
func TestTimeoutBesideTheHTTPClients(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour})
		hc := *srv.Client()
		hc.Timeout = 5 * time.Minute
		c := newClient(t, srv, appsandbooks.WithHTTPClient(&hc), appsandbooks.WithTimeout(10*time.Second), appsandbooks.WithRetry(1, 0, 0))
		defer c.Close()
		began := time.Now()
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		_ = isError(t, err)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

// A token source that fails for a moment does not end the wait for an operation.
func TestTokenSourceFailsForAMoment(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		var away atomic.Bool
		c := newClient(t, srv, appsandbooks.WithTokenSource(func(context.Context) (string, error) {
			if away.Load() {
				return "", errors.New("the vault is away")
			}
			return srv.Unit().Token(), nil
		}))
		defer c.Close()
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		away.Store(true)
		time.AfterFunc(20*time.Second, func() { away.Store(false) })
		began := time.Now()
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Greater(t, time.Since(began), 20*time.Second)
	})
}

// A null among an event's failures is no failure, and nothing breaks on it.
func TestNullAmongFailures(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: `{"eventType":"ASSOCIATE","eventStatus":"FAILED",
			"numRequested":1,"numCompleted":0,"failures":[null]}`})
		addAssets(srv, 1, 0)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1000"}}, SerialNumbers: []string{"C02"}},
			appsandbooks.WithJournal(func(context.Context, []byte) error { return nil }))
		require.NoError(t, err)
		_, err = c.Status.Wait(t.Context(), op.EventIDs()[0])
		require.Error(t, err)
		require.NotErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.False(t, appsandbooks.IsAuth(err))
		require.NotEmpty(t, err.Error())
		r, err := op.Wait(t.Context())
		require.Error(t, err)
		require.NotEmpty(t, err.Error())
		requireLedgerAgrees(t, srv, r)
		_, err = op.MarshalJSON()
		require.NoError(t, err)
	})
}

// The last answer counts, after whatever came before: its number, its status
// and what it says.
func TestLastErrorIsKept(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore, Times: 4})
		srv.AddFault(appsandbookstest.Fault{Status: 503, Body: "<html>maintenance page</html>"})
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		e := isError(t, err)
		require.Equal(t, []any{503, 5, "<html>maintenance page</html>"}, []any{e.StatusCode, e.Attempts, e.Excerpt})
		require.True(t, appsandbooks.IsRetryable(err))
	})
}

// What may succeed later is retryable, with an answer or without one; and a
// refused token is found among other errors.
func TestPredicatesBeyondNumbers(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	c := transported(t, func(*http.Request) (*http.Response, error) { return nil, refused }, appsandbooks.WithRetry(2, 0, 0))
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.True(t, appsandbooks.IsRetryable(err), "%v", err)
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Status: 503, Body: "x", Header: http.Header{"Retry-After": {"3600"}}, Times: 1})
		for range 2 { // the second is not even sent
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.Equal(t, time.Hour, isError(t, err).RetryAfter)
			require.True(t, appsandbooks.IsRetryable(err), "%v", err)
		}
	})
	require.True(t, appsandbooks.IsAuth(errors.Join(&appsandbooks.Error{StatusCode: 400, Number: 9602}, &appsandbooks.Error{StatusCode: 401})))
}

// An answer that cannot be read is worth a warning, though its status is 200.
func TestUnreadableAnswerIsLogged(t *testing.T) {
	var text bytes.Buffer
	c, _ := sameAnswerClient(t, 200, []byte("<html>Sign in to this network"), appsandbooks.WithLogger(slog.New(slog.NewTextHandler(&text, nil))))
	defer c.Close()
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.Equal(t, 200, isError(t, err).StatusCode)
	require.Contains(t, text.String(), "level=WARN")
}

// An operation prints without the ids that it holds.
func TestOperationsPrintNoIDs(t *testing.T) {
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

// Secrets that could not work are refused: a newline, what stands for a secret
// in JSON, "Bearer" before a token.
func TestSecretsThatCannotWork(t *testing.T) {
	for _, secret := range []string{"s3cret\n", " s3cret", "Bearer s3cret", "[REDACTED]"} {
		_, err := appsandbooks.NewNotificationHandler(nil, appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret(secret)))
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "%q", secret)
	}
	_, err := appsandbooks.NewClient("Bearer " + stoken)
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)

	text, err := json.Marshal(appsandbooks.ClientConfig{NotificationAuthToken: appsandbooks.NewSecret("s3cret")})
	require.NoError(t, err)
	var back appsandbooks.ClientConfig
	require.NoError(t, json.Unmarshal(text, &back))
	c, r := recordedClient(t)
	_, err = c.Config.UpdateClientConfig(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: back.NotificationAuthToken,
	})
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	require.Empty(t, r.requests)
}

// A token that is a word of the answer too, as in tests, is not taken out of it.
func TestShortTokenLeavesAnswersAlone(t *testing.T) {
	for _, token := range []string{"token", "test"} {
		rt := roundTripper(func(*http.Request) (*http.Response, error) {
			body := `{"currentPageIndex":0,"users":[{"clientUserId":"test-1"}],"tokenExpirationDate":"2030-11-08T22:33:22+0000"}`
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
		})
		c, err := appsandbooks.NewClient(token, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))
		require.NoError(t, err)
		page, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		c.Close()
		require.NoError(t, err)
		require.Equal(t, 2030, page.TokenExpirationDate.Year())
		require.Equal(t, "test-1", page.Items[0].ClientUserID)
	}
}

// A hook that succeeds after its time has done its work: the notification is
// not delivered to it again.
func TestHookBeyondItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		h := newHandler(t, func(context.Context, *appsandbooks.Notification) error {
			calls++
			time.Sleep(time.Minute) // virtual; it does not look at its context
			return nil
		}, appsandbooks.WithNotificationTimeouts(0, time.Second))
		for range 2 {
			require.Equal(t, http.StatusOK, post(h, notificationRequest(assetCountNotification("1", "u"))).Code)
		}
		require.Equal(t, 1, calls)
	})
}

// Zero values and nils lead to errors and to nothing, not to panics.
func TestNilsAndZeroValues(t *testing.T) {
	c := transported(t, func(*http.Request) (*http.Response, error) { return nil, errors.New("no") }, appsandbooks.WithRetry(1, 0, 0))
	for name, f := range map[string]func() error{
		"nil Option": func() error { return errorOf(appsandbooks.NewClient(stoken, nil)) },
		"nil OperationOption": func() error {
			return errorOf(c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: []string{"a"}}, nil))
		},
		"nil journal": func() error {
			return errorOf(c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: []string{"a"}}, appsandbooks.WithJournal(nil)))
		},
		"nil sequence":        func() error { return errorOf(appsandbooks.Collect[int](nil)) },
		"zero OperationError": func() error { return &appsandbooks.OperationError{} },
		"zero EventError":     func() error { return &appsandbooks.EventError{} },
		"nil Error":           func() error { return (*appsandbooks.Error)(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			require.NotPanics(t, func() {
				err := f()
				require.Error(t, err)
				require.NotEmpty(t, err.Error())
				require.NotErrorIs(t, err, context.Canceled)
				require.False(t, appsandbooks.IsAuth(err))
			})
		})
	}
	require.NotPanics(t, func() {
		var report appsandbooks.Report
		for range report.Outcomes() {
			t.Error("an outcome of nothing")
		}
		_ = report.String()
		require.Empty(t, appsandbooks.Secret{}.Reveal())
		new(appsandbooks.Client).Close()
		require.Empty(t, (*appsandbooks.Notification)(nil).EventID())
		require.GreaterOrEqual(t, post(new(appsandbooks.NotificationHandler), notificationRequest(assetCountNotification("1", "u"))).Code, 400)
	})
}
