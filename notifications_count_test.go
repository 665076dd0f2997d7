package appsandbooks_test

import (
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// When an operation revokes all assignments of a target, a notification does not end the
// wait, because the number of those assignments is not known beforehand.
func TestOperation_Wait_notificationsDoNotEndRevocation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 2, 10), SerialNumbers: []string{"C02"}})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)

		srv.Unit().HoldEvents(true)
		op, err = c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{SerialNumbers: []string{"C02"}})
		require.NoError(t, err)
		time.AfterFunc(6*time.Second, func() { // after the first poll at 5 s
			c.Notify(&appsandbooks.Notification{ID: "1", Type: appsandbooks.NotificationAssetManagement, AssetManagement: &appsandbooks.AssetManagement{
				Assignments: []appsandbooks.Assignment{{AssetPair: appsandbooks.AssetPair{AdamID: "1000", SerialNumber: "C02"}}},
				EventResult: appsandbooks.EventResult{EventID: op.EventIDs()[0], Result: appsandbooks.NotificationSuccess},
			}})
		})
		time.AfterFunc(20*time.Second, func() { srv.Unit().HoldEvents(false) })
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, report.Succeeded)
		require.Empty(t, srv.Unit().Assignments())
	})
}
