package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// IsRetryable is true for a timeout and for an answer that was cut off, and false for a
// certificate error and a canceled context.
func TestIsRetryable_distinguishesNetworkFailures(t *testing.T) {
	noAnswer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer noAnswer.Close()
	cutAnswer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"uId":"u",`)
	}))
	defer cutAnswer.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	untrusted.StartTLS()
	defer untrusted.Close()
	for base, retryable := range map[string]bool{noAnswer.URL: true, cutAnswer.URL: true, untrusted.URL: false} {
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(base), appsandbooks.WithTimeout(200*time.Millisecond), appsandbooks.WithRetry(1, 0, 0))
		require.NoError(t, err)
		// The client user id "509" is also a part of "x509", which is in the text of
		// certificate errors.
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "509"})
		require.Equal(t, retryable, appsandbooks.IsRetryable(err), "%v", err)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.Users.List(ended, appsandbooks.UserFilter{})
		require.False(t, appsandbooks.IsRetryable(err), "the context is canceled: %v", err)
		c.Close()
	}
}

// For any answer, a call returns a value or an *Error that is safe to print: its text has
// no control characters, no content token, and an excerpt of at most 512 bytes of the
// answer.
func FuzzErrors(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `<html>Bad Gateway</html>`, `{"errorNumber":9622,"errorMessage":"bad token STOKEN"}`, `{"errorNumber":"9602"}`,
		`{"errorNumber":9602,"errorInfo":"all"}`, `{"errorNumber":9609,"errorMessage":"m","errorInfo":{"clientUserIds":["a"],"assets":[{"adamId":"1"}]}}`,
		`{"errorNumber":1e99}`, `{"errorNumber":-1}`, `{"errorNumber":99999999999}`, `{"errorMessage":"a\u001b[31m\nb"}`, `{"errorNumber":9602,"errorMess`,
		`{"eventStatus":"FAILED","failures":[{"errorNumber":9709,"errorInfo":{"adamIds":[5]}},null]}`, "STOKEN\x00\xff",
	} {
		for _, status := range []uint16{200, 302, 400, 401, 500, 503} {
			f.Add(status, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		body = bytes.ReplaceAll(body, []byte("STOKEN"), []byte(stoken))
		c, requests := sameAnswerClient(t, int(status), body)
		defer c.Close()
		_, listErr := c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "canary"})
		_, getErr := c.Status.Get(t.Context(), "canary")
		adminErr := c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"canary"}})
		require.EqualValues(t, 3, requests.Load())
		for _, err := range []error{listErr, getErr, adminErr} {
			if err == nil {
				continue
			}
			e := isError(t, err)
			require.Equal(t, int(status), e.StatusCode)
			require.NotContains(t, err.Error()+e.Excerpt+e.Message+fmt.Sprintf("%+v", e), stoken)
			require.LessOrEqual(t, len(e.Excerpt), 512)
			require.False(t, strings.ContainsFunc(err.Error()+e.Excerpt, unicode.IsControl), "%q", err)
		}
		if status/100 != 2 {
			require.Error(t, listErr)
		}
		require.False(t, errors.Is(listErr, appsandbooks.ErrAmbiguous) || errors.Is(getErr, appsandbooks.ErrAmbiguous))
	})
}

// IsRetryable is true for temporary failures without an error number. IsAuth finds an HTTP
// 401 among joined errors.
func TestIsRetryable_coversFailuresWithoutErrorNumber(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	c := clientWithTransport(t, func(*http.Request) (*http.Response, error) { return nil, refused }, appsandbooks.WithRetry(2, 0, 0))
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.True(t, appsandbooks.IsRetryable(err), "%v", err)
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Status: 503, Body: "x", Header: http.Header{"Retry-After": {"3600"}}, Times: 1})
		for range 2 { // only the first request is sent; the second is not
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.Equal(t, time.Hour, isError(t, err).RetryAfter)
			require.True(t, appsandbooks.IsRetryable(err), "%v", err)
		}
	})
	require.True(t, appsandbooks.IsAuth(errors.Join(&appsandbooks.Error{StatusCode: 400, Number: 9602}, &appsandbooks.Error{StatusCode: 401})))
}
