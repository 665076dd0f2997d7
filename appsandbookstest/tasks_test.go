package appsandbookstest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// The failures of an event name exactly the pairs that failed. With
// WithLooseErrorInfo they name at least the failed pairs.
func TestServer_partialFailureNamesFailedPairs(t *testing.T) {
	setup := func(t *testing.T, opts ...fake.Option) object {
		_, u, c := newServer(t, opts...)
		u.AddAsset(fake.Asset{AdamID: "1", Total: 100})
		u.AddAsset(fake.Asset{AdamID: "2", Total: 2})
		u.AddAsset(fake.Asset{AdamID: "3", Total: 1})
		for _, id := range []string{"a", "b", "c"} {
			u.AddUser(fake.User{ClientUserID: id})
		}
		u.FailTarget("c", 9603)
		u.FailTarget("zz", 9603)
		u.FailTarget("zz", 0)
		return c.finish(u, "assets/associate", assetsBody([]string{"1", "2", "3", "4"}, []string{"a", "b", "c"}, []string{"S"}))
	}
	asset := func(id string) any { return object{"adamId": id, "pricingParam": "STDQ"} }
	failure := func(number float64, info object) object {
		return object{"errorNumber": number, "errorInfo": info}
	}
	check := func(status object, want ...any) {
		t.Helper()
		require.Equal(t, "FAILED", status["eventStatus"])
		require.EqualValues(t, 16, status["numRequested"])
		require.EqualValues(t, 3+2+1, status["numCompleted"])
		got := status["failures"].([]any)
		for _, f := range got {
			require.NotEmpty(t, f.(object)["errorMessage"])
			delete(f.(object), "errorMessage")
		}
		require.Empty(t, cmp.Diff(want, got))
	}

	check(setup(t),
		failure(9603, object{"assets": []any{asset("1"), asset("2"), asset("3"), asset("4")}, "clientUserIds": []any{"c"}}),
		failure(9709, object{"assets": []any{asset("2")}, "serialNumbers": []any{"S"}}),
		failure(9709, object{"assets": []any{asset("3")}, "clientUserIds": []any{"b"}, "serialNumbers": []any{"S"}}),
		failure(9709, object{"assets": []any{asset("4")}, "clientUserIds": []any{"a", "b"}, "serialNumbers": []any{"S"}}),
	)
	check(setup(t, fake.WithLooseErrorInfo()),
		failure(9603, object{"assets": []any{asset("1"), asset("2"), asset("3"), asset("4")}, "clientUserIds": []any{"c"}}),
		failure(9709, object{
			"assets":        []any{asset("2"), asset("3"), asset("4")},
			"clientUserIds": []any{"a", "b"}, "serialNumbers": []any{"S"},
		}),
	)
}

// A notification has one asset, one result and at most 100 elements.
func TestServer_notificationsAreSplit(t *testing.T) {
	withReceiver(t, nil, func(t *testing.T, r *receiver, _ *fake.Server, u *fake.Unit, c *caller) {
		u.AddAsset(fake.Asset{AdamID: "1", Total: 150})
		u.AddAsset(fake.Asset{AdamID: "2", Total: 130})
		u.AddUser(fake.User{ClientUserID: "a"})
		id := c.event("assets/associate", assetsBody([]string{"1", "2"}, []string{"a"}, ids("S", 149)))
		time.Sleep(49 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, r.of("ASSET_MANAGEMENT"), "no notification before the event is finished")
		time.Sleep(time.Millisecond)
		synctest.Wait()

		type part struct {
			adamID, result string
			n              int
		}
		var parts []part
		seen := make(map[string]bool)
		for _, n := range r.of("ASSET_MANAGEMENT") {
			payload := n["notification"].(object)
			require.Equal(t, id, payload["eventId"])
			require.Equal(t, "ASSOCIATE", payload["type"])
			list := items(t, payload, "assignments")
			for _, a := range list {
				require.Equal(t, list[0]["adamId"], a["adamId"], "one asset in each notification")
				seen[fmt.Sprint(a["adamId"], a["clientUserId"], a["serialNumber"])] = true
			}
			if payload["result"] == "FAILURE" {
				failure := payload["error"].(object)
				require.EqualValues(t, 9709, failure["errorNumber"])
				require.Len(t, failure["errorInfo"].(object)["serialNumbers"], len(list))
			} else {
				require.NotContains(t, payload, "error")
			}
			parts = append(parts, part{list[0]["adamId"].(string), payload["result"].(string), len(list)})
		}
		require.Equal(t, []part{
			{"1", "SUCCESS", 100},
			{"1", "SUCCESS", 50},
			{"2", "SUCCESS", 100},
			{"2", "SUCCESS", 30},
			{"2", "FAILURE", 20},
		}, parts)
		require.Len(t, seen, 300)

		c.finish(u, "assets/revoke", assetsBody(nil, []string{"a"}, ids("S", 3)))
		synctest.Wait()
		revoked := r.of("ASSET_MANAGEMENT")[5:]
		require.Len(t, revoked, 2)
		require.Equal(t, "REVOKE", revoked[0]["notification"].(object)["type"])
	})
}
