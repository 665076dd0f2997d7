package appsandbooks

import (
	"encoding/json"
	"errors"
	"time"
)

// timeLayout is the service's: ISO 8601 with an offset that RFC 3339 does not know.
const timeLayout = "2006-01-02T15:04:05-0700"

func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{timeLayout, time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("not a date of the service")
}

// Time is a date of the service, such as 2030-11-08T22:33:22+0000. A date of
// another form decodes to the zero Time: it never makes an answer unreadable.
type Time struct{ time.Time }

// UnmarshalJSON accepts the service's layout and RFC 3339.
func (t *Time) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		s = ""
	}
	t.Time, _ = parseTime(s)
	return nil
}

// MarshalJSON writes the service's layout.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.Format(timeLayout))
}
