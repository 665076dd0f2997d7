package main_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// command returns the command that runs the program with a stand-in.
func command(srv *appsandbookstest.Server, args ...string) clitest.Command {
	return clitest.Command{Args: args, Unit: srv.Unit(), URL: srv.URL()}
}

// notification waits for the n-th notification that the program prints, counted from
// 0, and returns it.
func notification(t *testing.T, p *clitest.Process, n int) map[string]any {
	t.Helper()
	line := p.Line(n)
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(line), &v), "%s", line)
	return v
}

// freeAddress returns an address of this machine on which no program listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// Without a content token the program prints the notifications of its own stand-in.
func TestReceiver_startsStandIn(t *testing.T) {
	p := clitest.Start(t, clitest.Command{})
	for i := range 3 {
		require.EqualValues(t, 25*(i+1), notification(t, p, i)["notification"].(map[string]any)["countDelta"])
	}
	p.Signal(syscall.SIGTERM)
	r := p.Wait()
	require.Zero(t, r.Code, r.Stderr)
	require.Contains(t, r.Stderr, "received the test notification of the service")
}

// Each notification is printed once, although deliveries are repeated, reordered and
// forged. Requests that are not notifications of the service are refused.
func TestReceiver_printsNotificationsOnce(t *testing.T) {
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithNotifications(appsandbookstest.NotificationOptions{
		Duplicate: 0.3, Reorder: 0.3, Forge: 0.3, ReorderWindow: 5e6,
	}))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	const secret = "s3cret-of-the-receiver"
	listen := freeAddress(t)
	c := command(srv, "-listen", listen, "-notification-url", "http://"+listen+"/notifications", "-mdm-id", "me", "-mdm-name", "My MDM Server")
	c.Env = []string{"APPSANDBOOKS_NOTIFICATION_SECRET=" + secret}
	p := clitest.Start(t, c)

	p.WaitForStderr("the service sends the notifications of unit " + srv.Unit().UID())
	config := srv.Unit().ClientConfig()
	require.Equal(t, secret, config.NotificationAuthToken)
	require.Equal(t, "me", config.MDMInfo.ID)
	const n = 200
	for i := range n {
		srv.Unit().Purchase("361309726", "STDQ", i+1)
	}
	srv.Unit().SendNotification("MOON_PHASE", map[string]any{"phase": "full"})
	printed := map[string]bool{}
	deltas := map[float64]bool{}
	for i := range n + 1 {
		line := notification(t, p, i)
		id := line["notificationId"].(string)
		require.False(t, printed[id], "%s is printed twice", id)
		printed[id] = true
		require.Equal(t, srv.Unit().UID(), line["uId"])
		if line["notificationType"] == "MOON_PHASE" {
			require.Equal(t, map[string]any{"phase": "full"}, line["notification"])
			continue
		}
		deltas[line["notification"].(map[string]any)["countDelta"].(float64)] = true
	}
	require.Len(t, deltas, n)

	for name, test := range map[string]struct {
		header, body string
		code         int
	}{
		"no secret":    {"", `{}`, 401},
		"wrong secret": {"Bearer wrong", `{"notification":{},"notificationId":"x","notificationType":"ASSET_COUNT"}`, 401},
		"no JSON":      {"Bearer " + secret, `<html>`, 400},
		"too large":    {"Bearer " + secret, strings.Repeat(" ", 1<<20), 413},
	} {
		req, err := http.NewRequest(http.MethodPost, "http://"+listen+"/notifications", strings.NewReader(test.body))
		require.NoError(t, err)
		if test.header != "" {
			req.Header.Set("Authorization", test.header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil && name == "too large" {
			continue // the receiver closed the connection before the whole body was sent
		}
		require.NoError(t, err, name)
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		require.Equal(t, test.code, resp.StatusCode, name)
	}
	p.Signal(syscall.SIGTERM)
	r := p.Wait()
	require.Zero(t, r.Code, r.Stderr)
	require.Equal(t, n+1, strings.Count(r.Stdout, "\n"), "the program prints only notifications")
	require.NotContains(t, r.Stderr, secret)
	require.NotContains(t, r.Stderr, srv.Unit().Token())
	require.Empty(t, srv.Violations())
}

// The program reports invalid flags and a registration that fails. The service then
// has no notification URL.
func TestReceiver_registrationFails(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	listen, other := freeAddress(t), freeAddress(t)
	for name, test := range map[string]struct {
		args    []string
		env     []string
		code    int
		message string
	}{
		"no address":        {[]string{"-notification-url", "https://mdm.example.com/"}, nil, 2, "-listen and -notification-url are required"},
		"no URL":            {[]string{"-listen", listen}, nil, 2, "-listen and -notification-url are required"},
		"http URL":          {[]string{"-listen", listen, "-notification-url", "http://mdm.example.com/"}, nil, 1, "must be https"},
		"unreachable":       {[]string{"-listen", listen, "-notification-url", "http://" + other + "/"}, nil, 1, "no request reached the handler"},
		"secret with space": {[]string{"-listen", listen, "-notification-url", "http://" + listen + "/"}, []string{"APPSANDBOOKS_NOTIFICATION_SECRET=pass word"}, 1, "letters, digits"},
		"id without name":   {[]string{"-listen", listen, "-notification-url", "http://" + listen + "/", "-mdm-id", "x"}, nil, 1, "the Name"},
	} {
		t.Run(name, func(t *testing.T) {
			c := command(srv, test.args...)
			c.Env = test.env
			r := clitest.Run(t, c)
			require.Empty(t, r.Stdout)
			require.Equal(t, test.code, r.Code)
			require.Contains(t, r.Stderr, test.message)
			require.Empty(t, srv.Unit().ClientConfig().NotificationURL)
		})
	}
}

// The receiver does not acknowledge a notification that it cannot print.
func TestReceiver_closedStandardOutput(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	listen := freeAddress(t)
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	c := command(srv, "-listen", listen, "-notification-url", "http://"+listen+"/")
	c.Stdout = writer
	p := clitest.Start(t, c)
	require.NoError(t, writer.Close())
	p.WaitForStderr("the service sends the notifications")
	require.NoError(t, reader.Close())
	srv.Unit().Purchase("361309726", "STDQ", 25)
	require.NotZero(t, p.Wait().Code)
	for _, d := range srv.Deliveries() {
		require.False(t, d.NotificationType == appsandbookstest.NotificationAssetCount && d.Status == http.StatusOK)
	}
}
