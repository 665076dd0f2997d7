package appsandbooks

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/ledger"
	"github.com/stretchr/testify/require"
)

// allSentinels are the errors that callers compare with errors.Is: those of the SDK, those of the
// service, and those of a context.
var allSentinels = sync.OnceValue(func() map[string]error {
	all := map[string]error{
		"ErrAmbiguous": ErrAmbiguous, "ErrAnswerDiffers": ErrAnswerDiffers, "ErrBusy": ErrBusy, "ErrClosed": ErrClosed,
		"ErrDataChanged": ErrDataChanged, "ErrInvalid": ErrInvalid, "ErrNoProgress": ErrNoProgress, "ErrNoToken": ErrNoToken,
		"ErrNotSent": ErrNotSent, "ErrNotVerified": ErrNotVerified, "ErrOtherUnit": ErrOtherUnit, "ErrPending": ErrPending,
		"ErrRedirect": ErrRedirect, "ErrRestarted": ErrRestarted, "ErrStalled": ErrStalled, "ErrTakenOver": ErrTakenOver,
		"ErrUnfinished": ErrUnfinished,
		"Canceled":      context.Canceled, "DeadlineExceeded": context.DeadlineExceeded,
		"12345": ErrorNumber(12345), "-1": ErrorNumber(errUnreadable), "0": ErrorNumber(0),
	}
	for number := range meanings {
		all[fmt.Sprint(int(number))] = number
	}
	return all
})

// A reason keeps every sentinel that the package exports.
func TestOutcome_Err_keepsEverySentinel(t *testing.T) {
	all := allSentinels()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	exported := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "errors_table.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			vars, ok := d.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			for _, spec := range vars.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(id.Name, "Err") {
						require.Contains(t, all, id.Name, name)
						exported++
					}
				}
			}
		}
	}
	require.Positive(t, exported)
	for name, sentinel := range all {
		if name == "0" { // no error has this number
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{sentinel, fmt.Errorf("context: %w", sentinel), &notSentError{sentinel}} {
				require.ErrorIs(t, fromReason(toReason(err)), sentinel)
				requireKept(t, err)
			}
		})
	}
}

// requireKept requires that an error and the error that is made of its reason have the same text,
// match the same sentinels and predicates, and have the same errors of the types of the package.
func requireKept(t testing.TB, before error) {
	t.Helper()
	why := toReason(before)
	require.True(t, json.Valid([]byte(why)), "%s", why)
	after := fromReason(why)
	requireSameError(t, before, after)
	require.Equal(t, why, toReason(after), "a reason stays the same when it is saved again")

	// The ledger writes reasons into JSON, and reads them again.
	saved, err := json.Marshal([]ledger.Reason{why})
	require.NoError(t, err)
	var restored []ledger.Reason
	require.NoError(t, json.Unmarshal(saved, &restored))
	require.Equal(t, why, restored[0])

	// Reading back joins the reason with another error.
	joined := errors.Join(ErrNotVerified, before)
	requireSameError(t, joined, fromReason(toReason(errors.Join(ErrNotVerified, after))))
}

func requireSameError(t testing.TB, before, after error) {
	t.Helper()
	require.EqualError(t, after, before.Error())
	for name, sentinel := range allSentinels() {
		require.Equal(t, errors.Is(before, sentinel), errors.Is(after, sentinel), "%s of %v", name, before)
	}
	for name, is := range map[string]func(error) bool{
		"IsAuth": IsAuth, "IsForbidden": IsForbidden, "IsRetryable": IsRetryable, "IsNotFound": IsNotFound, "isLimit": isLimit,
	} {
		require.Equal(t, is(before), is(after), "%s of %v", name, before)
	}
	var e, kept *Error
	require.Equal(t, errors.As(before, &e), errors.As(after, &kept), "%v", before)
	requireSameFields(t, e, kept)
	var event, keptEvent *EventError
	require.Equal(t, errors.As(before, &event), errors.As(after, &keptEvent), "%v", before)
	if event != nil {
		require.Equal(t, event.EventID, keptEvent.EventID)
		require.EqualError(t, keptEvent, event.Error())
		require.Equal(t, event.Status == nil, keptEvent.Status == nil)
		if event.Status != nil {
			require.Equal(t, toJSON(t, event.Status), toJSON(t, keptEvent.Status))
		}
	}
	var takeover, keptTakeover *TakeoverError
	require.Equal(t, errors.As(before, &takeover), errors.As(after, &keptTakeover), "%v", before)
	require.Equal(t, takeover, keptTakeover)
	var number, keptNumber ErrorNumber
	require.Equal(t, errors.As(before, &number), errors.As(after, &keptNumber), "%v", before)
	require.Equal(t, number, keptNumber)
}

// requireSameFields compares two Errors. The cause is compared by its text.
func requireSameFields(t testing.TB, before, after *Error) {
	t.Helper()
	if before == nil {
		require.Nil(t, after)
		return
	}
	require.EqualError(t, after, before.Error())
	b, a := *before, *after
	require.Equal(t, b.Info == nil, a.Info == nil)
	if b.Info != nil {
		require.Equal(t, [][]string{b.Info.ClientUserIDs, b.Info.SerialNumbers}, [][]string{a.Info.ClientUserIDs, a.Info.SerialNumbers})
		require.Equal(t, b.Info.Assets, a.Info.Assets)
		if b.Info.Raw != nil {
			require.JSONEq(t, string(b.Info.Raw), string(a.Info.Raw))
		}
	}
	require.Equal(t, b.err == nil, a.err == nil)
	if b.err != nil {
		require.EqualError(t, a.err, b.err.Error())
	}
	require.Equal(t, b.isNetworkError(), a.isNetworkError())
	b.Info, b.err, b.contextEnded = nil, nil, false
	a.Info, a.err, a.contextEnded = nil, nil, false // it also says that the cause is not one of the network
	require.Equal(t, b, a)
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

// errorKinds are Errors of every kind, as a request of an operation can end with them.
func errorKinds() map[string]error {
	raw := json.RawMessage(`{ "assets": [{"adamId":"1000"}], "adamIds": [5, 12345678901234567890], "note": "<&>\u2028" }`)
	info := new(ErrorInfo)
	_ = info.UnmarshalJSON(raw)
	failed := &Error{Number: ErrNotEnoughLicenses, Message: "no", Info: &ErrorInfo{SerialNumbers: []string{"C02"}}}
	status := &EventStatus{
		State: EventFailed, Type: EventAssociate, NumRequested: 3, NumCompleted: -1, Failures: []*Error{failed, nil, {Number: ErrUserNotFound}},
		Meta: Meta{UID: "u", TokenExpirationDate: Time{time.Date(2030, 11, 8, 22, 33, 22, 0, time.UTC)}, MDMInfo: &MDMInfo{ID: "i", Name: "n", Metadata: "m"}},
	}
	post := func(e Error) *Error {
		e.Method, e.Path, e.Attempts = "POST", "assets/associate", 1
		return &e
	}
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	all := map[string]error{
		"unknown number":          post(Error{StatusCode: 400, Number: 12345, Message: "what"}),
		"unreadable number":       post(Error{StatusCode: 400, Number: errUnreadable}),
		"message without number":  post(Error{StatusCode: 200, Message: "try later", Excerpt: "x"}),
		"no reason":               &Error{},
		"gateway":                 post(Error{StatusCode: 502, Excerpt: "<html>Bad \"Gateway\"", Attempts: 5}),
		"gateway after a write":   post(Error{StatusCode: 502, Excerpt: "<html>", Ambiguous: true}),
		"401 without number":      post(Error{StatusCode: 401}),
		"403 without number":      post(Error{StatusCode: 403}),
		"404 without number":      post(Error{StatusCode: 404}),
		"429 without number":      post(Error{StatusCode: 429, RetryAfter: 90 * time.Second}),
		"500 without number":      post(Error{StatusCode: 500}),
		"501 without number":      post(Error{StatusCode: 501}),
		"pause":                   post(Error{StatusCode: 503, Number: ErrServiceUnavailable, RetryAfter: time.Hour}),
		"redirect":                post(Error{StatusCode: 302}),
		"redirect after a write":  post(Error{StatusCode: 303, Ambiguous: true}),
		"network":                 post(Error{err: reset}),
		"network after a write":   post(Error{err: reset, Ambiguous: true}),
		"certificate":             post(Error{err: x509.UnknownAuthorityError{}}),
		"refused by the SDK":      post(Error{err: fmt.Errorf("the body: %w", ErrInvalid)}),
		"no usable answer":        post(Error{StatusCode: 200, err: errors.New("unexpected end of JSON input")}),
		"incomplete":              post(Error{StatusCode: 200, err: io.ErrUnexpectedEOF, incomplete: true}),
		"incomplete, 404":         post(Error{StatusCode: 404, err: io.ErrUnexpectedEOF, incomplete: true}),
		"context ended":           post(Error{err: context.DeadlineExceeded, contextEnded: true}),
		"canceled":                post(Error{err: fmt.Errorf("%w: by the caller", context.Canceled), contextEnded: true}),
		"canceled after an error": post(Error{err: fmt.Errorf("%w (before that: %w)", context.Canceled, &Error{StatusCode: 503, Number: ErrServiceUnavailable}), contextEnded: true}),
		"canceled, incomplete":    post(Error{StatusCode: 200, err: context.Canceled, incomplete: true, contextEnded: true}),
		"error within an error":   post(Error{StatusCode: 500, Number: ErrInternal, err: &Error{StatusCode: 401, Number: ErrTokenExpired}}),
		"closed":                  post(Error{err: ErrClosed, contextEnded: true}),
		"no token":                fmt.Errorf("POST assets/associate: %w", ErrNoToken),
		"info with raw":           post(Error{StatusCode: 400, Number: ErrUserNotFound, Info: info}),
		"info without raw":        post(Error{StatusCode: 400, Number: ErrUserNotFound, Info: &ErrorInfo{ClientUserIDs: []string{"ada"}}}),
		"empty info":              post(Error{StatusCode: 400, Number: ErrUserNotFound, Info: &ErrorInfo{}}),
		"info of another type":    post(Error{StatusCode: 400, Number: ErrUserNotFound, Info: &ErrorInfo{Raw: json.RawMessage(`"all"`)}}),
		"event":                   &EventError{EventID: "e", Status: status},
		"event without failures":  &EventError{EventID: "e", Status: &EventStatus{State: EventComplete, Type: "NEW"}},
		"event without a status":  &EventError{EventID: "e"},
		"takeover":                fmt.Errorf("POST assets/associate: %w", &TakeoverError{UID: "u", By: MDMInfo{ID: "i", Name: "Another <MDM>"}}),
		"not sent":                &notSentError{post(Error{StatusCode: 401, Number: ErrTokenExpired})},
		"stalled":                 fmt.Errorf("event e: %w", errors.Join(ErrStalled, post(Error{StatusCode: 404, Number: ErrEventNotFound}))),
		"journal":                 fmt.Errorf("writing the journal: %w", errors.New("the disk is full")),
		"other text":              errors.New("\"quoted\" <b>\n\t\u2028 äöü \x00"),
	}
	for number := range meanings {
		all[fmt.Sprint(int(number))] = post(Error{StatusCode: 400, Number: number, Message: "m"})
	}
	return all
}

// The reason of a pair keeps an error of every kind, and two of them joined.
func TestOutcome_Err_isSameAfterResume(t *testing.T) {
	kinds := errorKinds()
	for name, err := range kinds {
		t.Run(name, func(t *testing.T) {
			requireKept(t, err)
			requireKept(t, fmt.Errorf("first: %w", fmt.Errorf("second: %w", err)))
			requireKept(t, &notSentError{err})
			requireKept(t, errors.Join(err, err))
		})
	}
	names := slices.Sorted(maps.Keys(kinds))
	names = slices.DeleteFunc(names, func(name string) bool { return name[0] >= '0' && name[0] <= '9' && len(name) == 4 })
	for _, first := range names {
		for _, second := range names {
			t.Run(first+" and "+second, func(t *testing.T) {
				requireKept(t, errors.Join(kinds[first], kinds[second]))
				requireKept(t, fmt.Errorf("%w, and before %w", fromReason(toReason(kinds[first])), kinds[second]))
				requireKept(t, fmt.Errorf("%w, and before %w", kinds[first], fromReason(toReason(kinds[second]))))
			})
		}
	}
}

// The reason of a pair keeps random trees of errors of all kinds.
func TestOutcome_Err_keepsRandomTrees(t *testing.T) {
	kinds, sentinels := errorKinds(), allSentinels()
	kindNames, sentinelNames := slices.Sorted(maps.Keys(kinds)), slices.Sorted(maps.Keys(sentinels))
	r := rand.New(rand.NewPCG(1, 2))
	var tree func(depth int) error
	tree = func(depth int) error {
		n := r.IntN(9)
		if depth == 0 {
			n = r.IntN(3)
		}
		switch n {
		case 0:
			return sentinels[sentinelNames[r.IntN(len(sentinelNames))]]
		case 1, 2:
			return kinds[kindNames[r.IntN(len(kindNames))]]
		case 3:
			return fmt.Errorf("wrapped: %w", tree(depth-1))
		case 4:
			return fmt.Errorf("%w and %w", tree(depth-1), tree(depth-1))
		case 5:
			return &notSentError{tree(depth - 1)}
		case 6:
			return fromReason(toReason(tree(depth - 1)))
		case 7:
			return &Error{Method: "POST", Path: "users/create", Attempts: 2, err: tree(depth - 1), contextEnded: r.IntN(2) == 0, Ambiguous: r.IntN(2) == 0}
		}
		var list []error
		for range 1 + r.IntN(3) {
			list = append(list, tree(depth-1))
		}
		return errors.Join(list...)
	}
	for range 3000 {
		requireKept(t, tree(4))
	}
}

// A reason that cannot be kept whole still has its text and the sentinels of the SDK. Without an
// error there is no reason.
func TestOutcome_Err_keepsTextOfWhateverComes(t *testing.T) {
	require.Empty(t, toReason(nil))
	require.NoError(t, fromReason(""))
	invalidInfo := &Error{Number: ErrUserNotFound, Ambiguous: true, Info: &ErrorInfo{Raw: json.RawMessage(`{`)}}
	err := fromReason(toReason(invalidInfo))
	require.EqualError(t, err, invalidInfo.Error())
	require.ErrorIs(t, err, ErrAmbiguous)
	err = fromReason(toReason(errors.New("not \xff UTF-8")))
	require.EqualError(t, err, "not \ufffd UTF-8")
	var none *Error
	require.EqualError(t, fromReason(toReason(none)), "no error")
	for _, why := range []ledger.Reason{`{`, `5`, `{"errors":7}`} {
		require.Error(t, fromReason(why))
		require.NotEmpty(t, fromReason(why).Error())
	}
	for _, why := range []ledger.Reason{`{}`, `{"text":"x","marks":["unknown"],"errors":[{}],"event":{},"takeover":{}}`} {
		err := fromReason(why)
		require.Error(t, err)
		require.NotPanics(t, func() { _ = errors.Is(err, ErrAmbiguous) || IsRetryable(err) || errors.As(err, new(*EventError)) })
	}
}
