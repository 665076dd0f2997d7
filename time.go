package appsandbooks

import (
	"encoding/json"
	"errors"
	"time"
)

// timeLayout is the layout of the service's dates: ISO 8601, with an offset without a
// colon, which RFC 3339 does not allow.
const timeLayout = "2006-01-02T15:04:05-0700"

// parseTime parses a date in the service's layout or in RFC 3339.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{timeLayout, time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("the date has an unknown format")
}

// A Time is a date from the service, such as 2030-11-08T22:33:22+0000. A date in an
// unknown format decodes to the zero Time, so that the rest of an answer can still be
// decoded.
type Time struct{ time.Time }

// UnmarshalJSON reads a date in the service's layout or in RFC 3339. Any other value
// sets the zero Time. It never returns an error.
func (t *Time) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		s = ""
	}
	t.Time, _ = parseTime(s)
	return nil
}

// MarshalJSON writes the date in the service's layout, and null for the zero Time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.Format(timeLayout))
}
