package appsandbooks

import (
	"math"
	"strconv"
	"strings"
)

// ErrorNumber is Apple's errorNumber. Its constants are error values:
//
//	if errors.Is(err, appsandbooks.ErrTokenExpired) { … }
//
// For a number that has no constant, compare with ErrorNumber(n).
//
// Source: https://developer.apple.com/documentation/devicemanagement/handling-error-responses
type ErrorNumber int32

// Error returns the meaning of the number, in the words of the SDK, and the
// number itself.
func (n ErrorNumber) Error() string {
	if m, ok := meanings[n]; ok {
		return m + " (" + strconv.Itoa(int(n)) + ")"
	}
	if n == errUnreadable {
		return "an error whose number cannot be read"
	}
	return "error " + strconv.Itoa(int(n))
}

// errUnreadable replaces an errorNumber that is not a whole number.
const errUnreadable = -1

// UnmarshalJSON accepts a number, also in quotes or with a fraction of zero, and
// reads null as 0. It reads every other value as -1, so that an answer with an
// unexpected errorNumber is still an error.
func (n *ErrorNumber) UnmarshalJSON(data []byte) error {
	*n = errUnreadable
	if string(data) == "null" {
		*n = 0
	} else if v, err := strconv.ParseFloat(strings.Trim(string(data), `" `), 64); err == nil && v == math.Trunc(v) && math.Abs(v) <= math.MaxInt32 {
		*n = ErrorNumber(v)
	}
	return nil
}
