package appsandbooks_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

// SubscriptionAssignments.All reads all pages by cursor, and starts at the cursor in
// ListOptions.Start.
func TestSubscriptionAssignmentsService_All_followsCursors(t *testing.T) {
	const first = `{"assignments":[{"adamId":5,"clientUserId":"a","renewing":true}],"nextCursor":"c2","versionId":"v"}`
	const second = `{"assignments":[{"adamId":5,"clientUserId":"b"}],"versionId":"v"}`
	seats := []appsandbooks.SubscriptionAssignment{
		{SubscriptionPair: appsandbooks.SubscriptionPair{AdamID: 5, ClientUserID: "a"}, Renewing: true},
		{SubscriptionPair: appsandbooks.SubscriptionPair{AdamID: 5, ClientUserID: "b"}},
	}
	filter := appsandbooks.SubscriptionAssignmentFilter{AdamIDs: []int64{5}}

	answers := map[string]string{
		"subscriptions/assignments?adamId=5": first, "subscriptions/assignments?adamId=5&cursor=c2": second,
	}
	c := clientWithTransport(t, func(r *http.Request) (*http.Response, error) {
		answer, ok := answers[strings.TrimPrefix(r.URL.RequestURI(), "/mdm/v2/")]
		if !ok { // the request is for the service configuration
			return &http.Response{StatusCode: http.StatusNotFound, Body: readCloser("")}, nil
		}
		return &http.Response{StatusCode: http.StatusOK, Body: readCloser(answer)}, nil
	})
	got, err := appsandbooks.Collect(c.SubscriptionAssignments.All(t.Context(), filter))
	require.NoError(t, err)
	require.Equal(t, seats, got)

	filter.Start = "c2"
	got, err = appsandbooks.Collect(c.SubscriptionAssignments.All(t.Context(), filter))
	require.NoError(t, err)
	require.Equal(t, seats[1:], got)
}
