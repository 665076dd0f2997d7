package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// Every attempt of a request has the whole body and one Authorization header, also after a
// RoundTripper has changed the headers of the previous attempt.
func TestTransport_Do_eachAttemptIsComplete(t *testing.T) {
	n := script(func(r *http.Request) (*http.Response, error) {
		r.Header.Set("Authorization", "changed by the RoundTripper")
		return busy(r)
	})
	f := newTransport(n, attempts(3)).Do(t.Context(), newRequest(transport.Write))
	require.NotNil(t, f)
	require.Len(t, n.requests(), 3)
	for _, r := range n.requests() {
		require.Equal(t, []string{"Bearer " + token}, r.header["Authorization"])
		require.Equal(t, []string{"application/json"}, r.header["Content-Type"])
		require.Equal(t, `{"users":["ada.lovelace"]}`, r.body)
	}
}

// An attempt does not change the headers of the previous attempt, because its connection may
// still read them.
func TestTransport_Do_headersOfPreviousAttempt(t *testing.T) {
	var previous []http.Header
	n := script(func(r *http.Request) (*http.Response, error) {
		previous = append(previous, r.Header)
		return busy(r)
	})
	calls := 0
	tr := newTransport(n, attempts(3), func(cfg *transport.Config) {
		cfg.Token = func(context.Context) (string, error) {
			calls++
			return fmt.Sprint("token ", calls), nil
		}
	})
	require.NotNil(t, tr.Do(t.Context(), newRequest(transport.Read)))
	for i, h := range previous {
		require.Equal(t, fmt.Sprint("Bearer token ", i+1), h.Get("Authorization"))
	}
}

// When the token source fails, no request is sent, and the request fails with the error of the
// token source.
func TestTransport_Do_tokenFails(t *testing.T) {
	errVault := errors.New("the vault is locked")
	n := script(success)
	tr := newTransport(n, func(cfg *transport.Config) {
		cfg.Token = func(context.Context) (string, error) { return "", errVault }
	})
	f := tr.Do(t.Context(), newRequest(transport.Write))
	requireFailure(t, f, errVault)
	require.Zero(t, f.Attempts)
	require.False(t, f.Ambiguous)
	require.Empty(t, n.requests())
}

// A token source that fails before a retry ends the request. The error also
// reports why the previous attempt failed.
func TestTransport_Do_tokenFailsBeforeRetry(t *testing.T) {
	errVault := errors.New("the vault is locked")
	calls := 0
	n := script(busy)
	tr := newTransport(n, func(cfg *transport.Config) {
		cfg.Token = func(context.Context) (string, error) {
			if calls++; calls > 1 {
				return "", errVault
			}
			return token, nil
		}
	})
	f := tr.Do(t.Context(), newRequest(transport.Read))
	requireFailure(t, f, errVault)
	var previous *answerError
	require.ErrorAs(t, f.Err, &previous)
	require.Equal(t, 1, f.Attempts)
	require.EqualError(t, f.Err, "the vault is locked (before that: status 503: busy)")
}

// watchedBody is the body of an answer. A read of it before Close fails the test.
type watchedBody struct {
	t      *testing.T
	closed bool
}

func (b *watchedBody) Read([]byte) (int, error) {
	if !b.closed {
		b.t.Error("the body was read")
	}
	return 0, http.ErrBodyReadAfterClose
}

func (b *watchedBody) Close() error {
	b.closed = true
	return nil
}

// An answer that switches protocols is closed without a read, because a read of the raw
// connection would not end. The result of a write is ambiguous then.
func TestTransport_Do_switchingProtocols(t *testing.T) {
	for _, class := range []transport.Class{transport.Read, transport.Write} {
		body := &watchedBody{t: t}
		n := script(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}, Body: body}, nil
		})
		f := newTransport(n, attempts(2)).Do(t.Context(), newRequest(class))
		require.NotNil(t, f)
		require.ErrorContains(t, f.Err, "status 101")
		require.Zero(t, f.Status)
		require.Equal(t, class == transport.Write, f.Ambiguous)
		require.True(t, body.closed)
	}
}

// A Failure describes the last attempt only: it contains nothing of an earlier answer.
func TestTransport_Do_lastAttemptCounts(t *testing.T) {
	n := script(
		answer(http.StatusServiceUnavailable, "busy with maintenance", "Retry-After", "1"),
		cutAnswer(http.StatusOK, "half"),
		lost,
	)
	virtual(t, func(t *testing.T) {
		f := newTransport(n, attempts(3)).Do(t.Context(), newRequest(transport.Read))
		requireFailure(t, f, errLost)
		require.Equal(t, &transport.Failure{Err: f.Err, Attempts: 3}, f)
	})
	f := newTransport(script(lost, answer(http.StatusBadGateway, "down")), attempts(2)).Do(t.Context(), newRequest(transport.Read))
	require.NotNil(t, f)
	require.EqualError(t, f.Err, "status 502: down")
	require.Equal(t, &transport.Failure{Err: f.Err, Status: 502, Excerpt: "down", Attempts: 2}, f)
}

// The body of every answer is closed, so that its connection can be used again.
func TestTransport_Do_closesBodies(t *testing.T) {
	var bodies []*closableBody
	n := script(func(r *http.Request) (*http.Response, error) {
		resp, err := busy(r)
		b := &closableBody{Reader: resp.Body}
		bodies, resp.Body = append(bodies, b), b
		return resp, err
	})
	require.NotNil(t, newTransport(n, attempts(3)).Do(t.Context(), newRequest(transport.Read)))
	require.Len(t, bodies, 3)
	for _, b := range bodies {
		require.True(t, b.closed)
	}
}

type closableBody struct {
	io.Reader
	closed bool
}

func (b *closableBody) Close() error {
	b.closed = true
	return nil
}
