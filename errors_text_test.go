package appsandbooks_test

import (
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// The texts of an Error have fewer than 2000 bytes, also when the service's message is
// longer.
func TestError_shortensLongMessage(t *testing.T) {
	c := clientWithAnswer(t, 400, nil, `{"errorNumber":9602,"errorMessage":"`+strings.Repeat("long ", 1<<17)+`"}`)
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.Less(t, len(err.Error()), 2000)
	require.Less(t, len(isError(t, err).Message), 2000)
}
