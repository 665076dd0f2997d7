package appsandbookstest

import (
	"maps"
	"net/http"
	"slices"
)

// An errorCode is what the stand-in answers for one error number.
type errorCode struct {
	// status is the HTTP status of an answer to a request. The service reports
	// some numbers only for an event; their status is for a [Fault] that makes
	// them the answer to a request.
	status int
	// message is in our own words. Clients must compare numbers, not messages.
	message string
	// listed reports whether the answer to service/config lists the number.
	// Apple's published sample of that answer leaves out the numbers above 9728
	// and some others.
	listed bool
}

// listedCodes returns the numbers that the answer to service/config lists, sorted.
func listedCodes() []int {
	var numbers []int
	for _, n := range slices.Sorted(maps.Keys(errorCodes)) {
		if errorCodes[n].listed {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// messageOf returns the message of an error number.
func messageOf(number int) string {
	if c, ok := errorCodes[number]; ok {
		return c.message
	}
	return "Unknown error."
}

// statusOf returns the HTTP status of an error number.
func statusOf(number int) int {
	if c, ok := errorCodes[number]; ok {
		return c.status
	}
	return http.StatusBadRequest
}

// An apiError is the refusal of a request: nothing has been queued or changed.
type apiError struct {
	status int // zero: the status of the number
	wireError
}

// refuse returns the refusal with an error number.
func refuse(number int) *apiError {
	return &apiError{wireError: newWireError(number, nil)}
}

// refuseArgument returns a refusal with number 9602 that says which argument
// is at fault.
func refuseArgument(what string) *apiError {
	e := refuse(numInvalidArgument)
	e.Message += " (" + what + ")"
	return e
}

// refuseItems returns the refusal with an error number that names the
// offending items of the request.
func refuseItems(number int, info *wireErrorInfo) *apiError {
	return &apiError{wireError: newWireError(number, info)}
}

func (e *apiError) httpStatus() int {
	if e.status != 0 {
		return e.status
	}
	return statusOf(e.Number)
}
