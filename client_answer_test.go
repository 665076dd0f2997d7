package appsandbooks_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A call must fail, and not hang, when the server answers 101 Switching Protocols and
// leaves the connection open.
func TestClient_doesNotHangOnSwitchingProtocols(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
				// The server leaves the connection open until the client closes it.
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL("http://"+l.Addr().String()), appsandbooks.WithRetry(2, 0, 0))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.ErrorContains(t, err, "101")
	err = c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"u"}})
	require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
}

// A write that is answered with 301, 302 or 303 is ambiguous, because servers also send
// them after a successful write. 307 and 308 ask for the same write at another URL: the
// service has not processed it.
func TestClient_writeIsAmbiguousAfterRedirect(t *testing.T) {
	for status, ambiguous := range map[int]bool{301: true, 302: true, 303: true, 307: false, 308: false} {
		c := clientWithAnswer(t, status, http.Header{"Location": {"https://x.example.com/%zz"}}, "")
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrRedirect, "a Location that is not a valid URL is a redirect, too")
		err = c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"u"}})
		require.ErrorIs(t, err, appsandbooks.ErrRedirect)
		require.Equal(t, ambiguous, errors.Is(err, appsandbooks.ErrAmbiguous), status)
	}
}

// A write is ambiguous when its answer has both an error number and an eventId: the error
// number does not prove that the service started no event.
func TestClient_Do_errorWithEventIsAmbiguous(t *testing.T) {
	requests := 0
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		requests++
		body := `{"errorNumber":9603,"eventId":"e","uId":"u"}`
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c := clientWithTransport(t, rt, appsandbooks.WithRetry(5, 0, 0))
	err := c.Do(t.Context(), http.MethodPost, "assets/associate", nil, struct{}{}, nil)
	require.ErrorIs(t, err, appsandbooks.ErrInternal)
	require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
	require.Equal(t, 1, requests)
}

// A write is retried and not ambiguous when its answer has a retryable error number and a
// null eventId, because the service started no event.
func TestClient_Do_refusalWithoutEventIsNotAmbiguous(t *testing.T) {
	c := clientWithAnswer(t, 200, nil, `{"errorNumber":9646,"eventId":null}`)
	err := c.Do(t.Context(), http.MethodPost, "assets/associate", nil, struct{}{}, nil)
	require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)
	require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
	require.Equal(t, 2, isError(t, err).Attempts)
}

// A redirect (an HTTP 3xx answer) is an error, and the client sends nothing to the target
// of the redirect.
func TestClient_doesNotFollowRedirects(t *testing.T) {
	var targetRequests atomic.Int32
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { targetRequests.Add(1) }))
	defer target.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(target.URL, status))
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(srv.URL))
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrRedirect)
		require.Equal(t, status, isError(t, err).StatusCode)
		c.Close()
		srv.Close()
	}
	require.Zero(t, targetRequests.Load())
}

// The client reads a compressed answer like any other answer. The limit on the size of an
// answer counts the decompressed bytes.
func TestClient_limitsSizeOfDecompressedAnswer(t *testing.T) {
	inVirtualTime(t, slowPages(time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 1)
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Kind: appsandbookstest.FaultGzipBomb, Times: 1})
		_, err := c.Assignments.List(t.Context(), appsandbooks.AssignmentFilter{})
		var tooLarge *http.MaxBytesError
		require.ErrorAs(t, err, &tooLarge)
		page, err := c.Assignments.List(t.Context(), appsandbooks.AssignmentFilter{})
		require.NoError(t, err)
		require.Len(t, page.Items, 2)
	})
}

// The client removes the content token from error texts, but it does not change an answer
// that contains the token's text as a word.
func TestClient_keepsAnswersThatContainShortToken(t *testing.T) {
	for _, token := range []string{"token", "test"} {
		rt := roundTripper(func(*http.Request) (*http.Response, error) {
			body := `{"currentPageIndex":0,"users":[{"clientUserId":"test-1"}],"tokenExpirationDate":"2030-11-08T22:33:22+0000"}`
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
		})
		c, err := appsandbooks.NewClient(token, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))
		require.NoError(t, err)
		page, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		c.Close()
		require.NoError(t, err)
		require.Equal(t, 2030, page.TokenExpirationDate.Year())
		require.Equal(t, "test-1", page.Items[0].ClientUserID)
	}
}

// The client must recognize each answer in this table as an error. The field number is 0 if
// the answer has no errorNumber, and -1 if its errorNumber is not a number.
func TestClient_findsErrorInUnusualBodies(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		number appsandbooks.ErrorNumber
	}{
		"errorInfo is a string":     {400, `{"errorNumber":9602,"errorInfo":"all of it"}`, 9602},
		"errorInfo of wrong types":  {400, `{"errorNumber":9602,"errorInfo":{"assets":"x","clientUserIds":["a"]}}`, 9602},
		"errorMessage is an object": {200, `{"errorNumber":9602,"errorMessage":{"en":"no"}}`, 9602},
		"no errorMessage":           {400, `{"errorNumber":9602}`, 9602},
		"number in quotes":          {400, `{"errorNumber":"9602"}`, 9602},
		"unknown number":            {400, `{"errorNumber":12345}`, 12345},
		"number with fraction zero": {200, `{"errorNumber":9602.0}`, 9602},
		"number with exponent":      {200, `{"errorNumber":9.602e3}`, 9602},
		"number is text":            {200, `{"errorNumber":"E-9602","errorMessage":"no"}`, -1},
		"number with a fraction":    {200, `{"errorNumber":9602.5}`, -1},
		"huge number":               {200, `{"errorNumber":1e99}`, -1},
		"number is an object":       {200, `{"errorNumber":{"value":9602},"users":[],"uId":"u"}`, -1},
		"only a message":            {200, `{"errorMessage":"no","users":[],"uId":"u"}`, 0},
		"empty":                     {400, ``, 0},
		"HTML":                      {403, `<html><body>Forbidden</body></html>`, 0},
		"truncated":                 {400, `{"errorNumber":9602,"errorMess`, 9602},
		"text after the object":     {401, `{"errorMessage":"no","errorNumber": "9621"} <!-- x -->`, 9621},
		"array":                     {400, `[]`, 0},
		"null":                      {400, `null`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rt := roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: test.status, Header: http.Header{}, Body: readCloser(test.body)}, nil
			})
			c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
			e := isError(t, err)
			require.Equal(t, test.status, e.StatusCode)
			require.Equal(t, test.number, e.Number)
			require.NotEmpty(t, err.Error())
			if test.number == 0 && test.status != 200 {
				require.Equal(t, test.body, e.Excerpt)
			}
		})
	}
}
