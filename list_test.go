package appsandbooks_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

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
			c, requests := sameAnswerClient(t, 200, body)
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

func TestCollect_beginsAgainWhenDataChanges(t *testing.T) {
	var srv *appsandbookstest.Server
	left := 0
	hook := appsandbookstest.WithPageHook(func(r appsandbookstest.PageRead) {
		if r.Index == 3 && left > 0 {
			left--
			fillPages(srv, 1000+left, 1)
		}
	})
	inVirtualTime(t, slowPages(time.Millisecond, hook), func(t *testing.T, s *appsandbookstest.Server, c *appsandbooks.Client) {
		srv = s
		fillPages(srv, 0, 8)
		left = 2
		all, err := appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}}))
		require.NoError(t, err)
		require.Len(t, all, 2*(8+2), "each once")
		left = 9
		_, err = appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}}))
		require.ErrorIs(t, err, appsandbooks.ErrDataChanged)
		require.NotErrorIs(t, err, appsandbooks.ErrRestarted)
		require.Equal(t, 6, left, "three walks")
	})
}
