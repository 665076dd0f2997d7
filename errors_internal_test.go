package appsandbooks

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// An operation splits a request after exactly those error numbers that report an exceeded
// limit.
func TestErrorNumber_limits(t *testing.T) {
	limits := map[ErrorNumber]bool{9700: true, 9701: true, 9702: true, 9711: true, 9713: true, 9714: true, 9724: true, 9725: true, 9816: true}
	require.NotEmpty(t, meanings)
	for number := range meanings {
		require.Equal(t, limits[number], isLimit(fmt.Errorf("context: %w", &Error{Number: number})), "%d", number)
	}
}
