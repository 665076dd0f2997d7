package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// answering is a client whose every request gets the same answer.
func answering(t *testing.T, status int, body []byte, opts ...appsandbooks.Option) (*appsandbooks.Client, *atomic.Int32) {
	t.Helper()
	requests := new(atomic.Int32)
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		requests.Add(1)
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}, nil
	})
	c, err := appsandbooks.NewClient(stoken, append([]appsandbooks.Option{
		appsandbooks.WithHTTPClient(&http.Client{Transport: rt}), appsandbooks.WithRetry(1, 0, 0),
	}, opts...)...)
	require.NoError(t, err)
	return c, requests
}

// A token is understood or refused, and never repeated.
func FuzzParseToken(f *testing.F) {
	for _, s := range []string{
		stoken, stoken + "\n", "\ufeff" + stoken, "e30=", "WzFd", "ab!c", "bm90aGluZw==", "eyJ0b2tlbiI6Im4iLCJleHBEYXRlIjoic29vbiJ9",
		"eyJ0b2tlbiI6Im4iLCJleHBEYXRlIjoiMjAzMC0xMS0wOFQxNTozMzoyMi0wNzAwIiwib3JnTmFtZSI6Ik9SRzEyMzQ1In0=", "ä", strings.Repeat("a", 9000), "\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		token, err := appsandbooks.ParseToken(content)
		_, clientErr := appsandbooks.NewClient(content)
		if err == nil {
			require.NoError(t, clientErr)
			require.Equal(t, "[REDACTED]", fmt.Sprint(token))
			return
		}
		for _, err := range []error{err, clientErr} {
			if err == nil {
				continue // the service is the judge
			}
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			require.Less(t, len(err.Error()), 250) // bounded, whatever came in
			if secret := strings.TrimSpace(content); len(secret) > 12 {
				require.NotContains(t, err.Error(), secret)
			}
		}
	})
}

// Whatever a server says, the result is a value or an *Error that is safe to
// print: bounded, on one line, without the token it echoes.
func FuzzErrors(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `<html>Bad Gateway</html>`, `{"errorNumber":9622,"errorMessage":"bad token STOKEN"}`, `{"errorNumber":"9602"}`,
		`{"errorNumber":9602,"errorInfo":"all"}`, `{"errorNumber":9609,"errorMessage":"m","errorInfo":{"clientUserIds":["a"],"assets":[{"adamId":"1"}]}}`,
		`{"errorNumber":1e99}`, `{"errorNumber":-1}`, `{"errorNumber":99999999999}`, `{"errorMessage":"a\u001b[31m\nb"}`, `{"errorNumber":9602,"errorMess`,
		`{"eventStatus":"FAILED","failures":[{"errorNumber":9709,"errorInfo":{"adamIds":[5]}},null]}`, "STOKEN\x00\xff",
	} {
		for _, status := range []uint16{200, 302, 400, 401, 500, 503} {
			f.Add(status, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		body = bytes.ReplaceAll(body, []byte("STOKEN"), []byte(stoken))
		c, requests := answering(t, int(status), body)
		defer c.Close()
		_, listErr := c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "canary"})
		_, getErr := c.Status.Get(t.Context(), "canary")
		adminErr := c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"canary"}})
		require.EqualValues(t, 3, requests.Load())
		for _, err := range []error{listErr, getErr, adminErr} {
			if err == nil {
				continue
			}
			e := isError(t, err)
			require.Equal(t, int(status), e.StatusCode)
			require.NotContains(t, err.Error()+e.Excerpt+e.Message+fmt.Sprintf("%+v", e), stoken)
			require.LessOrEqual(t, len(e.Excerpt), 512)
			require.False(t, strings.ContainsFunc(err.Error()+e.Excerpt, unicode.IsControl), "%q", err)
		}
		if status/100 != 2 {
			require.Error(t, listErr)
		}
		require.False(t, errors.Is(listErr, appsandbooks.ErrAmbiguous) || errors.Is(getErr, appsandbooks.ErrAmbiguous))
	})
}

// Every walk ends, whatever its pages say, also if they are all the same.
func FuzzPages(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"nextPageIndex":1}`, `{"nextPageIndex":0}`, `{"nextPageIndex":-1}`, `{"nextPageIndex":9223372036854775807,"totalPages":9223372036854775807}`,
		`{"nextCursor":"c"}`, `{"users":[{"clientUserId":"a"}],"currentPageIndex":0,"nextPageIndex":1,"totalPages":2,"versionId":"v"}`,
		`{"totalPages":1000000,"nextPageIndex":1}`, `{"totalPages":-9223372036854775808,"nextPageIndex":1}`, `{"totalPages":-5,"nextPageIndex":2,"size":-1}`, `{"users":null,"assets":null,"nextPageIndex":null}`,
		`{"assets":[{"adamId":"1"}],"unlimitedAssets":[{}],"assignments":[{"adamId":5}],"subscriptions":[{"parentAdamId":null}],"admins":[{}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		synctest.Test(t, func(t *testing.T) { // for the pace of requests
			c, requests := answering(t, 200, body)
			defer c.Close()
			walks := []func(context.Context) error{
				func(ctx context.Context) error { return drain(c.Users.All(ctx, appsandbooks.UserFilter{})) },
				func(ctx context.Context) error { return drain(c.Assets.All(ctx, appsandbooks.AssetFilter{})) },
				func(ctx context.Context) error { return drain(c.Assignments.All(ctx, appsandbooks.AssignmentFilter{})) },
				func(ctx context.Context) error {
					return drain(c.Subscriptions.All(ctx, appsandbooks.SubscriptionFilter{}))
				},
				func(ctx context.Context) error {
					return drain(c.SubscriptionAssignments.All(ctx, appsandbooks.SubscriptionAssignmentFilter{}))
				},
				func(ctx context.Context) error {
					return drain(c.SubscriptionAdmins.All(ctx, appsandbooks.SubscriptionAdminFilter{}))
				},
			}
			for _, walk := range walks {
				requests.Store(0)
				if err := walk(t.Context()); err != nil && !errors.Is(err, appsandbooks.ErrNoProgress) {
					_ = isError(t, err)
				}
				require.LessOrEqual(t, int(requests.Load()), 12) // with those read ahead
			}
		})
	})
}

// What Resume does not refuse can be carried to an end.
func FuzzResumeAndWait(f *testing.F) {
	for _, blob := range savedOperations(f) {
		f.Add(blob)
	}
	for _, s := range []string{
		``, "\n", `null`, `[]`, `{}`, `{"version":2}`,
		`{"version":1,"kind":"users/retire","users":["a"],"parts":[{"part":0,"state":"planned","assets":[[0,1]],"users":[[0,1]],"outcome":"failed"}]}`,
		`{"version":1,"kind":"users/create","users":["a"],"devices":["b"],"requests":[{}],"parts":[{"part":0,"state":"planned","assets":[[0,1]],"devices":[[0,1]],"outcome":"failed"}]}`,
		`{"version":1,"kind":"subscriptions/associate","assets":[{"adamId":"x"}],"users":["a","a"],"parts":[{"part":0,"state":"unknown","assets":[[0,1]],"users":[[0,2],[0,2]],"outcome":"unconfirmed"}]}`,
		`{"version":1,"kind":"assets/associate","assets":[{"adamId":"1"}],"devices":["b"],"parts":[{"part":0,"state":"finished","assets":[[0,9223372036854775807]],"devices":[[0,1]],"outcome":"failed"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := answering(t, 400, []byte(`{"errorNumber":9602}`))
			defer c.Close()
			op, err := c.Resume(blob)
			if err != nil {
				require.ErrorIs(t, err, appsandbooks.ErrInvalid)
				return
			}
			report := op.Report()
			if report.Total > 100_000 {
				return
			}
			end, _ := op.Wait(t.Context())
			require.Equal(t, report.Total, end.Total)
		})
	})
}

// savedOperations are what real ones look like, at several moments.
func savedOperations(t testing.TB) (blobs [][]byte) {
	t.Helper()
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	assets, people := stock(srv, 3, 4), users(srv, 3)
	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, After: 1, Times: 1})
	c := newClient(t, srv)
	defer c.Close()
	change := appsandbooks.AssetChange{Assets: assets, ClientUserIDs: people, SerialNumbers: names("C02", 3)}
	save := func(op *appsandbooks.Operation, err error) {
		require.NoError(t, err)
		blob, err := op.MarshalJSON()
		require.NoError(t, err)
		blobs = append(blobs, blob)
	}
	save(c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly()))
	save(c.Assets.Associate(t.Context(), change))
	save(c.Assets.Associate(t.Context(), change)) // of unknown fate
	save(c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{SerialNumbers: names("C02", 2)}))
	save(c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "a"}, {ClientUserID: "b", Email: "b@example.com"}}}))
	var journal bytes.Buffer
	op, err := c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: people[:1]}, appsandbooks.WithJournal(func(_ context.Context, entry []byte) error {
		_, err := journal.Write(entry)
		return err
	}))
	require.NoError(t, err)
	require.NotNil(t, op)
	return append(blobs, journal.Bytes())
}
