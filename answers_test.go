package appsandbooks_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// What stands between a client and the service, or is the matter with it, answers
// in ways that no service does on purpose. None of them may pass for an answer.

// saying is a client whose every request gets the same answer.
func saying(t *testing.T, status int, header http.Header, body string, opts ...appsandbooks.Option) *appsandbooks.Client {
	if header == nil {
		header = http.Header{}
	}
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: readCloser(body)}, nil
	})
	return transported(t, rt, append([]appsandbooks.Option{appsandbooks.WithRetry(2, 0, 0)}, opts...)...)
}

// A server that wants to speak another protocol hands the bare connection over,
// which never ends, and which no context ends.
func TestSwitchingProtocols(t *testing.T) {
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
				_, _ = io.Copy(io.Discard, conn) // until the client ends it
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

// "See the result elsewhere" is how many a write ends that was carried out.
func TestSeeOther(t *testing.T) {
	c := saying(t, http.StatusSeeOther, http.Header{"Location": {"https://x.example.com/%zz"}}, "")
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.ErrorIs(t, err, appsandbooks.ErrRedirect, "also to where no URL leads")
	err = c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"u"}})
	require.ErrorIs(t, err, appsandbooks.ErrRedirect)
	require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
}

// An error beside the event of a request does not prove that nothing was started.
func TestEventBesideAnError(t *testing.T) {
	requests := 0
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		requests++
		body := `{"errorNumber":9603,"eventId":"e","uId":"u"}`
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c := transported(t, rt, appsandbooks.WithRetry(5, 0, 0))
	err := c.Do(t.Context(), http.MethodPost, "assets/associate", nil, struct{}{}, nil)
	require.ErrorIs(t, err, appsandbooks.ErrInternal)
	require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
	require.Equal(t, 1, requests)
}

// What is odd in the service configuration counts as not sent, and takes nothing
// else with it.
func TestOddServiceConfig(t *testing.T) {
	for _, part := range []string{
		`"errorCodes":{}`, `"errorCodes":[{"errorNumber":"E1","errorMessage":"m"}]`, `"notificationTypes":[5]`, `"urls":[]`, `"urls":{"getUsers":5}`, `"uId":5`, `"mdmInfo":"x"`,
	} {
		c := saying(t, 200, nil, `{"limits":{"maxAssets":7},`+part+`}`)
		config, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err, part)
		require.Equal(t, 7, config.Limits.MaxAssets, part)
	}
	c := saying(t, 200, nil, `{"limits":[],"urls":{"getUsers":"https://vpp.itunes.apple.com/x"}}`)
	config, err := c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	require.Zero(t, config.Limits)
	require.Len(t, config.URLs, 1)
	_, err = saying(t, 200, nil, `[]`).Config.ServiceConfig(t.Context())
	require.Error(t, err)
}

// A page of nothing but braces is small on its way, and large in memory.
func TestAPageOfBraces(t *testing.T) {
	c := saying(t, 200, nil, `{"users":[{}`+strings.Repeat(",{}", 1<<20)+`]}`)
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.Equal(t, 200, isError(t, err).StatusCode)
	require.ErrorContains(t, err, "objects")
}

// Messages of any length end up as one readable line.
func TestLongMessage(t *testing.T) {
	c := saying(t, 400, nil, `{"errorNumber":9602,"errorMessage":"`+strings.Repeat("long ", 1<<17)+`"}`)
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.Less(t, len(err.Error()), 2000)
	require.Less(t, len(isError(t, err).Message), 2000)
}

// The walk by cursor over a list that has no end ends all the same.
func TestEmptyPagesWithoutEnd(t *testing.T) {
	var n atomic.Int64
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		body := fmt.Sprintf(`{"subscriptions":[],"nextCursor":"c%d","uId":"u"}`, n.Add(1))
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c := transported(t, rt, appsandbooks.WithLimiter(unlimited{}))
	require.ErrorIs(t, drain(c.Subscriptions.Pages(t.Context(), appsandbooks.SubscriptionFilter{})), appsandbooks.ErrNoProgress)
}

// A page that always announces another, which is never there, is no list either.
func TestAnnouncedPagesThatAreNot(t *testing.T) {
	var n atomic.Int64
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		body := invalidPageIndexJSON
		if r.URL.Query().Get("pageIndex") == "" {
			body = pageJSON(0, int(n.Add(1)), 2, "v")
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c := transported(t, rt, appsandbooks.WithLimiter(unlimited{}))
	require.Error(t, drain(c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
}

type unlimited struct{}

func (unlimited) Acquire(context.Context, time.Duration) (func(), error) { return func() {}, nil }
func (unlimited) Pause(time.Duration)                                    {}
func (unlimited) SetRate(int)                                            {}

// A Retry-After of a thousand years holds the client back for a day: then it asks.
func TestPauseOfAThousandYears(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"99999999999"}}, Times: 1})
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
		time.Sleep(23 * time.Hour)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.True(t, appsandbooks.IsRetryable(err), "%v", err)
		require.Equal(t, 1, countPath(srv, "users"))
		time.Sleep(time.Hour)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		srv.ResetRequests() // who told on us for not waiting for a thousand years
	})
}

// An event is judged by a status that can be its own, and complete.
func TestStatusOfSomethingElse(t *testing.T) {
	for name, body := range map[string]string{
		"another type":      `{"eventStatus":"COMPLETE","eventType":"DISASSOCIATE","numRequested":1,"numCompleted":1}`,
		"no count":          `{"eventStatus":"FAILED","eventType":"ASSOCIATE","numRequested":1}`,
		"no count, either":  `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":1,"numCompleted":null}`,
		"another count":     `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":2,"numCompleted":2}`,
		"more than all":     `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":1,"numCompleted":2}`,
		"a failure of null": `{"eventStatus":"FAILED","eventType":"ASSOCIATE","numRequested":1,"numCompleted":1,"failures":[null]}`,
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				assets := addAssets(srv, 1, 5)
				srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: body})
				srv.AddFault(appsandbookstest.Fault{Path: "assignments", Number: 9602, Times: 1})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{"C02"}})
				require.NoError(t, err)
				report, err := op.Wait(t.Context())
				require.Error(t, err)
				require.Equal(t, 1, report.Unconfirmed, "%v", err)
				report, err = op.Verify(t.Context()) // the data settles it
				require.NoError(t, err)
				require.Equal(t, 1, report.Succeeded)
			})
		})
	}
}

// Two requests cannot have one event, and no event has a book for an id: what
// became of such a request is not known.
func TestEventsThatCannotBe(t *testing.T) {
	for name, event := range map[string]string{"the same twice": "e", "a book": strings.Repeat("e", 1<<10), "none": ""} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 1 })
				assets := addAssets(srv, 1, 5)
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Status: 200, Body: `{"eventId":"` + event + `"}`, Times: 2})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{"C02", "C03"}})
				require.NoError(t, err)
				ambiguous := 0
				for o := range op.Report().Outcomes() {
					require.Equal(t, appsandbooks.OutcomeUnconfirmed, o.Status)
					if errors.Is(o.Err, appsandbooks.ErrAmbiguous) {
						ambiguous++
					}
				}
				require.Equal(t, map[string]int{"e": 1}[event]+map[bool]int{true: 2}[event != "e"], ambiguous)
			})
		})
	}
}

// Only an answer that names another service tells of a takeover, wherever it
// stands; and only one that names ours ends it.
func TestWhoseUnitItIs(t *testing.T) {
	write := func(c *appsandbooks.Client) error {
		return c.Do(t.Context(), http.MethodPost, "assets/associate", nil, struct{}{}, nil)
	}
	const another = `{"id":"another","name":"n","metadata":"m"}`
	owner := appsandbooks.WithOwner(ourMDM, func(*appsandbooks.TakeoverError) {})
	answers := []string{}
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		body := answers[0]
		answers = answers[1:]
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}), owner)
	require.NoError(t, err)
	defer c.Close()

	answers = []string{`{"mdmInfo":{},"uId":"u"}`, `{}`}
	_, err = c.Config.ClientConfig(t.Context())
	require.NoError(t, err)
	require.NoError(t, write(c), "nobody is no other service")

	answers = []string{`{"mdmInfo":` + another + `,"uId":"u","subscriptionManagement":true}`}
	err = c.Subscriptions.Enable(t.Context())
	require.NoError(t, err)
	require.ErrorIs(t, write(c), appsandbooks.ErrTakenOver)

	answers = []string{`{}`}
	_, err = c.Config.Claim(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
	require.ErrorIs(t, write(c), appsandbooks.ErrTakenOver)

	answers = []string{`{"mdmInfo":{"id":"` + ourMDM.ID + `","name":"n","metadata":"m"},"uId":"u"}`, `{}`}
	_, err = c.Config.Claim(t.Context())
	require.NoError(t, err)
	require.NoError(t, write(c))
}

// A token that comes back escaped, in part, decoded or in other capitals is as
// good as the token.
func TestSecretsAreKnownInAnySpelling(t *testing.T) {
	token, inner := canaryToken, `{"token":"`+canaryInner
	secret := "canary/notification+secret~0123456789=="
	escaped := func(s string) string {
		var b strings.Builder
		for i, r := range s {
			if i%20 == 19 || strings.ContainsRune(`/+="`, r) {
				fmt.Fprintf(&b, `\u%04x`, r)
			} else {
				b.WriteRune(r)
			}
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"JSON": escaped(token) + " " + escaped(secret), "URL": url.QueryEscape(token) + " " + url.QueryEscape(secret),
		"HTML":    strings.NewReplacer("=", "&#61;", "+", "&#43;", "/", "&#x2F;").Replace(token + " " + secret),
		"a part":  token[10:60] + " … " + secret[8:30],
		"decoded": html.EscapeString(inner), "capitals": strings.ToUpper(token) + strings.ToUpper(secret),
	} {
		for _, status := range []int{400, 401, 502} {
			for _, form := range []string{"you sent %s", `{"message":"you sent %s"}`, `{"errorNumber":9602,"errorMessage":"you sent %s"}`, "<html>" + strings.Repeat("x", 450) + "%s"} {
				var log bytes.Buffer
				rt := roundTripper(func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: status, Header: http.Header{}, Body: readCloser(fmt.Sprintf(form, text))}, nil
				})
				c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}), appsandbooks.WithRetry(1, 0, 0),
					appsandbooks.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
				require.NoError(t, err)
				_, err = c.Config.UpdateClientConfig(t.Context(), appsandbooks.Registration{NotificationAuthToken: appsandbooks.NewSecret(secret)})
				e := isError(t, err)
				for _, said := range []string{err.Error(), e.Excerpt, e.Message, log.String()} {
					said = strings.ToLower(said)
					for _, whole := range []string{token, canaryInner, secret} {
						for at := 0; at+12 <= len(whole); at++ {
							require.NotContains(t, said, strings.ToLower(whole[at:at+12]), "%s %d %s", name, status, form)
						}
					}
				}
				c.Close()
			}
		}
	}
}

// Neither what the caller named in a request nor what an answer names shows when
// an error is printed or logged.
func TestErrorsNameNobody(t *testing.T) {
	for name, body := range map[string]string{
		"a page":     "<html>Not found: /users?clientUserId=ada%40example.com (ada@example.com, ada&#64;example&#46;com)</html>",
		"a message":  `{"errorNumber":9609,"errorMessage":"No user ada@example.com.","errorInfo":{"clientUserIds":["ada@example.com"]}}`,
		"half a 200": `{"users":[{"clientUserId":"ada@example.com"`,
	} {
		status := 404
		if strings.HasPrefix(name, "half") {
			status = 200
		}
		var log bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&log, nil))
		c := saying(t, status, nil, body, appsandbooks.WithLogger(logger))
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "ada@example.com"})
		require.Error(t, err)
		logger.Error("as a program logs it", "error", err, "inner", isError(t, err))
		require.NotRegexp(t, "ada(@|%40|&#64;)example", err.Error()+log.String(), name)
	}
}

// A client that has sent a token does not hold it where those look who print
// values to the bottom, as assertions do.
func TestUsedClientIsNotDumped(t *testing.T) {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	require.NoError(t, srv.Listen(""))
	one, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithBaseURL(srv.URL()))
	require.NoError(t, err)
	defer one.Close()
	_, err = one.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.NoError(t, err)
	other, err := appsandbooks.NewClient("another", appsandbooks.WithBaseURL(srv.URL()))
	require.NoError(t, err)
	defer other.Close()
	var said said
	assert.Equal(&said, one, other)
	assert.Equal(&said, *one, *other)
	require.NotEmpty(t, said)
	require.NotContains(t, string(said), srv.Unit().Token()[:20])
}

// said is a test that only listens.
type said string

func (s *said) Errorf(format string, args ...any) { *s += said(fmt.Sprintf(format, args...)) }

// What may pass by itself is told from what will not.
func TestNetworkTroubleIsRetryable(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"uId":"u",`)
	}))
	defer cut.Close()
	secured := httptest.NewUnstartedServer(http.NotFoundHandler())
	secured.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secured.StartTLS()
	defer secured.Close()
	for base, retryable := range map[string]bool{silent.URL: true, cut.URL: true, secured.URL: false} {
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(base), appsandbooks.WithTimeout(200*time.Millisecond), appsandbooks.WithRetry(1, 0, 0))
		require.NoError(t, err)
		// An id that stands in "x509", too.
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "509"})
		require.Equal(t, retryable, appsandbooks.IsRetryable(err), "%v", err)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.Users.List(ended, appsandbooks.UserFilter{})
		require.False(t, appsandbooks.IsRetryable(err), "the caller left: %v", err)
		c.Close()
	}
}

// A refusal that says "no event" is a refusal.
func TestErrorWithoutAnEvent(t *testing.T) {
	c := saying(t, 200, nil, `{"errorNumber":9646,"eventId":null}`)
	err := c.Do(t.Context(), http.MethodPost, "assets/associate", nil, struct{}{}, nil)
	require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)
	require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
	require.Equal(t, 2, isError(t, err).Attempts)
}

// A list by cursor that is empty may be left out of the answer.
func TestEmptyListThatIsLeftOut(t *testing.T) {
	c := saying(t, 200, nil, `{"uId":"1","tokenExpirationDate":"2030-01-01T00:00:00+0000"}`)
	all, err := appsandbooks.Collect(c.Subscriptions.All(t.Context(), appsandbooks.SubscriptionFilter{}))
	require.NoError(t, err)
	require.Empty(t, all)
}

// What was associated with white space in its serial number can be taken back.
func TestSerialNumberWithWhiteSpace(t *testing.T) {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	c := newClient(t, srv)
	defer c.Close()
	change := appsandbooks.AssetChange{Assets: addAssets(srv, 1, 5), SerialNumbers: []string{"C02 X"}}
	_, err := c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly())
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	_, err = c.Assets.Disassociate(t.Context(), change, appsandbooks.WithPlanOnly())
	require.NoError(t, err)
}
