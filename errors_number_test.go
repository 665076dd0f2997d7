package appsandbooks_test

import (
	"fmt"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// Every error number of Apple's table has a text. Of the predicates for groups of error
// numbers, only the predicate of the number's own group matches.
func TestErrorNumber_hasMeaningAndMatchingPredicate(t *testing.T) {
	// All numbers of Apple's table.
	numbers := []int{
		9601, 9602, 9603, 9609, 9621, 9622, 9623, 9625, 9634, 9635, 9637, 9641, 9644, 9646, 9647, 9650, 9700, 9701, 9702, 9703,
		9704, 9705, 9706, 9707, 9708, 9709, 9710, 9711, 9712, 9713, 9714, 9715, 9716, 9717, 9718, 9719, 9720, 9721, 9722, 9723,
		9724, 9725, 9726, 9727, 9728, 9729, 9811, 9812, 9813, 9814, 9815, 9816, 9817, 9818,
	}
	groups := map[int]string{}
	for group, members := range map[string][]int{
		"auth": {9601, 9621, 9622, 9625, 9722}, "forbidden": {9637, 9647}, "retryable": {9603, 9644, 9646, 9729},
		"not found": {9609, 9708, 9813, 9814, 9815},
	} {
		for _, n := range members {
			groups[n] = group
		}
	}
	predicates := map[string]func(error) bool{
		"auth": appsandbooks.IsAuth, "forbidden": appsandbooks.IsForbidden, "retryable": appsandbooks.IsRetryable,
		"not found": appsandbooks.IsNotFound,
	}
	for _, n := range numbers {
		number := appsandbooks.ErrorNumber(n)
		require.NotContains(t, number.Error(), "error "+fmt.Sprint(n), "the number has no text")
		c, _ := recordedClient(t, fmt.Sprintf(`{"errorNumber":%d,"errorMessage":"m","errorInfo":{"clientUserIds":["a"]}}`, n))
		err := error(&appsandbooks.Error{Number: number})
		if groups[n] != "retryable" { // the client would retry those
			_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
			e := isError(t, err)
			require.Equal(t, 200, e.StatusCode)
			require.Equal(t, []string{"a"}, e.Info.ClientUserIDs)
			require.NotContains(t, err.Error(), `"a"`)
		}
		wrapped := fmt.Errorf("context: %w", err)
		require.ErrorIs(t, wrapped, number)
		require.NotErrorIs(t, wrapped, number+1000)
		for group, is := range predicates {
			require.Equal(t, groups[n] == group, is(wrapped), "%d %s", n, group)
		}
	}
	require.False(t, appsandbooks.IsAuth(nil))
	require.Equal(t, "error 12345", appsandbooks.ErrorNumber(12345).Error())
}
