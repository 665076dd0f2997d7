package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The service that the benchmarks read from is a separate process, so that the benchmarks
// measure only the client. The process holds one page of assignments and returns it for
// every index, which needs almost no processor time.

const (
	records = 1000 // in a page
	roleEnv = "APPSANDBOOKS_BENCH_ROLE"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) == "server" {
		serve()
		return
	}
	os.Exit(m.Run())
}

// pageBody returns the JSON of a page of assignments in the format of the service.
func pageBody(index, pages int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"assignments":[`)
	for i := range records {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"adamId":"%d","pricingParam":"STDQ","serialNumber":"C02%09d"}`, 361309726+i%40, i)
	}
	fmt.Fprintf(&b, `],"currentPageIndex":%d,`, index)
	if index+1 < pages {
		fmt.Fprintf(&b, `"nextPageIndex":%d,`, index+1)
	}
	fmt.Fprintf(&b, `"size":%d,"tokenExpirationDate":"2030-11-08T22:33:22+0000","totalPages":%d,"uId":"2049025000431439",`+
		`"versionId":"e6a1b2f0-3b9e-4f2a-9c55-0d0b8a3a9f10"}`, records, pages)
	return b.Bytes()
}

// serve runs the benchmarks' service on a free port, prints the service's URL, and returns
// when the standard input ends. The path of a request starts with the latency in
// microseconds and the number of pages.
func serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	head, tail, _ := bytes.Cut(pageBody(0, 1), []byte(`"currentPageIndex":0,`))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{latency}/{pages}/service/config", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"limits":{"maxRequestPerSecond":1000000}}`)
	})
	mux.HandleFunc("GET /{latency}/{pages}/assignments", func(w http.ResponseWriter, r *http.Request) {
		latency, _ := strconv.Atoi(r.PathValue("latency"))
		pages, _ := strconv.Atoi(r.PathValue("pages"))
		index, _ := strconv.Atoi(r.URL.Query().Get("pageIndex"))
		time.Sleep(time.Duration(latency) * time.Microsecond)
		place := fmt.Appendf(nil, `"currentPageIndex":%d,`, index)
		if index+1 < pages {
			place = fmt.Appendf(place, `"nextPageIndex":%d,`, index+1)
		}
		end := bytes.Replace(tail, []byte(`"totalPages":1`), fmt.Appendf(nil, `"totalPages":%d`, pages), 1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(head)+len(place)+len(end)))
		_, _ = w.Write(head)
		_, _ = w.Write(place)
		_, _ = w.Write(end)
	})
	go func() { _ = http.Serve(l, mux) }()
	fmt.Printf("http://%s\n", l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startServer starts the benchmarks' service. It returns a function that returns the base
// URL of a list with the given latency and number of pages.
func startServer(tb testing.TB) func(latency time.Duration, pages int) string {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=server")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	base := strings.TrimSpace(line)
	return func(latency time.Duration, pages int) string {
		return fmt.Sprintf("%s/%d/%d", base, latency.Microseconds(), pages)
	}
}
