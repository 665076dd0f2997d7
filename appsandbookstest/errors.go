package appsandbookstest

import (
	"maps"
	"net/http"
	"slices"
)

// An errorCode describes how the stand-in answers with one error number.
type errorCode struct {
	// status is the HTTP status of an answer to a request. The service reports
	// some numbers only in the status of an event; the HTTP status of such a
	// number is used if a [Fault] answers a request with the number.
	status int
	// message is the text for the number. It is not Apple's text: clients must
	// compare numbers, not messages.
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

// An apiError is the refusal of a request. A refused request queues and changes
// nothing.
type apiError struct {
	status int // HTTP status; zero means the status of the error number
	wireError
}

// refuse returns the refusal of a request with an error number.
func refuse(number int) *apiError {
	return &apiError{wireError: newWireError(number, nil)}
}

// refuseArgument returns a refusal with error number 9602 that names the
// invalid argument.
func refuseArgument(what string) *apiError {
	e := refuse(numInvalidArgument)
	e.Message += " (" + what + ")"
	return e
}

// refuseItems returns the refusal of a request with an error number. The
// refusal names the invalid items of the request.
func refuseItems(number int, info *wireErrorInfo) *apiError {
	return &apiError{wireError: newWireError(number, info)}
}

func (e *apiError) httpStatus() int {
	if e.status != 0 {
		return e.status
	}
	return statusOf(e.Number)
}
