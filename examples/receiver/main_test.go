package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "receiver")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "receiver")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// receiver is the running program.
type receiver struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Scanner
	stderr *transcript
}

// transcript keeps what is written to it, and can be waited for.
type transcript struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{}
}

func (b *transcript) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.written <- struct{}{}:
	default:
	}
	return b.text.Write(p)
}

func (b *transcript) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await returns when a text was written.
func (b *transcript) await(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(b.String(), text) {
		select {
		case <-b.written:
		case <-time.After(time.Minute):
			t.Fatalf("%q was not written:\n%s", text, b)
		}
	}
}

// start runs the program, without the variables of whoever runs the test.
func start(t *testing.T, env []string, args ...string) *receiver {
	t.Helper()
	r := &receiver{
		t: t, cmd: exec.CommandContext(t.Context(), binary, args...),
		stderr: &transcript{written: make(chan struct{}, 1)},
	}
	r.cmd.Env, r.cmd.Stderr = env, r.stderr
	pipe, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	r.stdout = bufio.NewScanner(pipe)
	r.stdout.Buffer(nil, 1<<20)
	require.NoError(t, r.cmd.Start())
	return r
}

// line is the next notification that the program prints.
func (r *receiver) line() map[string]any {
	r.t.Helper()
	require.True(r.t, r.stdout.Scan(), "no line; standard error:\n%s", r.stderr)
	var n map[string]any
	require.NoError(r.t, json.Unmarshal(r.stdout.Bytes(), &n), "%s", r.stdout.Text())
	return n
}

// stop ends the program with a signal and gives its exit code.
func (r *receiver) stop() int {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(syscall.SIGTERM))
	require.False(r.t, r.stdout.Scan(), "nothing more is printed")
	return r.wait()
}

func (r *receiver) wait() int {
	r.t.Helper()
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(r.t, err)
	}
	return r.cmd.ProcessState.ExitCode()
}

func variables(srv *appsandbookstest.Server, more ...string) []string {
	return append(more, "APPSANDBOOKS_STOKEN="+srv.Unit().Token(), "APPSANDBOOKS_BASE_URL="+srv.URL())
}

// address is one that nobody listens on.
func address(t *testing.T) string {
	t.Helper()
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	require.NoError(t, srv.Listen(""))
	host := strings.TrimSuffix(strings.TrimPrefix(srv.URL(), "http://"), "/mdm/v2")
	srv.Close()
	return host
}

func TestAlone(t *testing.T) {
	r := start(t, nil)
	for i := range 3 {
		require.EqualValues(t, 25*(i+1), r.line()["notification"].(map[string]any)["countDelta"])
	}
	require.Zero(t, r.stop(), r.stderr)
	require.Contains(t, r.stderr.String(), "the service's test arrived")
}

// Every notification is printed once, whatever the network does, and nothing
// else is.
func TestAgainstAService(t *testing.T) {
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithNotifications(appsandbookstest.NotificationOptions{
		Duplicate: 0.3, Reorder: 0.3, Forge: 0.3, ReorderWindow: 5e6,
	}))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	const secret = "s3cret-of-the-receiver"
	listen := address(t)
	r := start(t, variables(srv, "APPSANDBOOKS_NOTIFICATION_SECRET="+secret),
		"-listen", listen, "-notification-url", "http://"+listen+"/notifications", "-mdm-id", "me", "-mdm-name", "My MDM Server")

	r.stderr.await(t, "the service sends notifications of unit "+srv.Unit().UID())
	config := srv.Unit().ClientConfig()
	require.Equal(t, secret, config.NotificationAuthToken)
	require.Equal(t, "me", config.MDMInfo.ID)
	const n = 200
	for i := range n {
		srv.Unit().Purchase("361309726", "STDQ", i+1)
	}
	srv.Unit().SendNotification("MOON_PHASE", map[string]any{"phase": "full"})
	seen := map[string]bool{}
	deltas := map[float64]bool{}
	for range n + 1 {
		line := r.line()
		id := line["notificationId"].(string)
		require.False(t, seen[id], "%s is printed twice", id)
		seen[id] = true
		require.Equal(t, srv.Unit().UID(), line["uId"])
		if line["notificationType"] == "MOON_PHASE" {
			require.Equal(t, map[string]any{"phase": "full"}, line["notification"])
			continue
		}
		deltas[line["notification"].(map[string]any)["countDelta"].(float64)] = true
	}
	require.Len(t, deltas, n)

	// What is no notification of the service's is refused.
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
			continue // it hung up before all was sent
		}
		require.NoError(t, err, name)
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		require.Equal(t, test.code, resp.StatusCode, name)
	}
	require.Zero(t, r.stop(), r.stderr)
	require.NotContains(t, r.stderr.String(), secret)
	require.NotContains(t, r.stderr.String(), srv.Unit().Token())
	require.Empty(t, srv.Violations())
}

func TestTrouble(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	listen, elsewhere := address(t), address(t)
	for name, test := range map[string]struct {
		args []string
		env  []string
		code int
		says string
	}{
		"no address":  {[]string{"-notification-url", "https://mdm.example.com/"}, nil, 2, "-listen and -notification-url are needed"},
		"no URL":      {[]string{"-listen", listen}, nil, 2, "-listen and -notification-url are needed"},
		"bad URL":     {[]string{"-listen", listen, "-notification-url", "http://mdm.example.com/"}, nil, 1, "must be https"},
		"unreachable": {[]string{"-listen", listen, "-notification-url", "http://" + elsewhere + "/"}, nil, 1, "no request reached the handler"},
		"bad secret":  {[]string{"-listen", listen, "-notification-url", "http://" + listen + "/"}, []string{"APPSANDBOOKS_NOTIFICATION_SECRET=pass word"}, 1, "letters, digits"},
		"half a name": {[]string{"-listen", listen, "-notification-url", "http://" + listen + "/", "-mdm-id", "x"}, nil, 1, "the Name"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, variables(srv, test.env...), test.args...)
			require.False(t, r.stdout.Scan())
			require.Equal(t, test.code, r.wait())
			require.Contains(t, r.stderr.String(), test.says)
			require.Empty(t, srv.Unit().ClientConfig().NotificationURL)
		})
	}
}

// Without a reader of its lines it does not go on as if nothing had happened.
func TestNobodyReads(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	listen := address(t)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), binary, "-listen", listen, "-notification-url", "http://"+listen+"/")
	stderr := &transcript{written: make(chan struct{}, 1)}
	cmd.Env, cmd.Stdout, cmd.Stderr = variables(srv), write, stderr
	require.NoError(t, cmd.Start())
	require.NoError(t, write.Close())
	stderr.await(t, "the service sends notifications")
	require.NoError(t, read.Close())
	srv.Unit().Purchase("361309726", "STDQ", 25)
	require.Error(t, cmd.Wait())
	for _, d := range srv.Deliveries() {
		require.False(t, d.NotificationType == appsandbookstest.NotificationAssetCount && d.Status == http.StatusOK)
	}
}
