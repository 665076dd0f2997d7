package appsandbooks_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

// Time reads dates in the service's form and in RFC 3339. For any other text, the result is the
// zero Time.
func TestTime_readsServiceFormAndRFC3339(t *testing.T) {
	date := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	for text, want := range map[string]time.Time{
		`"2031-02-03T04:05:06+0000"`:  date,
		`"2031-02-03T05:35:06+0130"`:  date,
		`"2031-02-03T04:05:06Z"`:      date,
		`"2031-02-03T04:05:06.5Z"`:    date.Add(time.Second / 2),
		`"2031-02-03T03:05:06-01:00"`: date,
		`"next year"`:                 {},
		`1927857906`:                  {},
		`null`:                        {},
	} {
		var got appsandbooks.Time
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.True(t, want.Equal(got.Time), "%s: %s", text, got)
	}
}

// A Time is written in the service's form, and as null when it is zero.
func TestTime_writesServiceForm(t *testing.T) {
	for want, date := range map[string]time.Time{
		`"2031-02-03T04:05:06+0000"`: time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC),
		`null`:                       {},
	} {
		text, err := json.Marshal(appsandbooks.Time{Time: date})
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
}
