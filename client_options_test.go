package appsandbooks_test

import (
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

func TestWithTimeout_appliesToEachAttempt(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour, Times: 1})
		c := newClient(t, srv, appsandbooks.WithTimeout(10*time.Second))
		defer c.Close()
		began := time.Now()
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		require.Less(t, time.Since(began), 11*time.Second)
	})
}

// Over real connections: one is enough for many requests, half of which fail,
// and somebody else's idle connections stay open.
func TestWithHTTPClient_reusesConnectionsAndStaysUnchanged(t *testing.T) {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	require.NoError(t, srv.Listen(""))
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	hc := &http.Client{Transport: tr, Timeout: 5 * time.Second}
	c, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithBaseURL(srv.URL()),
		appsandbooks.WithHTTPClient(hc), appsandbooks.WithRetry(1, 0, 0))
	require.NoError(t, err)
	srv.AddFault(appsandbookstest.Fault{Status: 503, Body: strings.Repeat("x", 50_000), Probability: 0.5})
	var connections atomic.Int32
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			connections.Add(1)
		}
	}})
	failures := 0
	for range 14 {
		if _, err := c.Users.List(ctx, appsandbooks.UserFilter{}); err != nil {
			failures++
		}
	}
	require.NotZero(t, failures)
	require.EqualValues(t, 1, connections.Load())
	require.Nil(t, hc.CheckRedirect, "the caller's client was written to")
	require.Same(t, tr, hc.Transport)
}
