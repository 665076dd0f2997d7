package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// A wire is an http.RoundTripper between one process and the stand-in. It knows which pairs of
// an operation may have been carried out, whatever the client thinks of it.
type wire struct {
	next http.RoundTripper
	log  *sendLog // nil for none
	// lose is nil, or decides the fate of a write: whether it gets lost now, and after which time
	// it reaches the stand-in nevertheless; zero means never. The goroutines of several requests
	// call it.
	lose func() (lost bool, after time.Duration)
	late *lateWrites
	lag  *lagging // nil if the lists do not lag
	// abandoned is nil, or is called when the client no longer waits for the answer to a request.
	abandoned func()

	mu   sync.Mutex
	dead bool // the process has crashed: nothing reaches the stand-in any more
}

// errDeadProcess is the error of a request of a process that has crashed.
var errDeadProcess = fmt.Errorf("the process is dead")

// kill ends the process: no later request reaches the stand-in.
func (w *wire) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
}

func (w *wire) isDead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.isDead() {
		return nil, errDeadProcess
	}
	if w.abandoned != nil {
		defer func() {
			if r.Context().Err() != nil {
				w.abandoned()
			}
		}()
	}
	path := endpointOf(r.URL)
	if r.Method != http.MethodPost || r.Body == nil || path == "client/config" {
		resp, err := w.next.RoundTrip(r)
		switch {
		case w.lag == nil:
		case path == "status":
			w.lag.sample() // a list is at most so late after the status of an event shows its end
		case err == nil && path == "assignments":
			return w.lag.rewrite(r, resp)
		}
		return resp, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	id, _ := r.Context().Value(operationKey{}).(string)
	copyOf := func(ctx context.Context) *http.Request {
		c := r.Clone(ctx)
		c.Body = io.NopCloser(bytes.NewReader(body))
		return c
	}
	if w.lose != nil {
		if lost, after := w.lose(); lost {
			w.log.add(id, path, body, "lost")
			if after > 0 {
				w.late.deliver(w.next, copyOf(context.Background()), after)
			}
			return nil, fmt.Errorf("the connection was reset after %d bytes", len(body))
		}
	}
	resp, err := w.next.RoundTrip(copyOf(r.Context()))
	if fate, began := fateOf(resp, err); began {
		w.log.add(id, path, body, fate)
	}
	return resp, err
}

// operationKey is the context key under which a test passes the name of an operation to the wire.
type operationKey struct{}

// endpointOf returns the path of a request below /mdm/v2/.
func endpointOf(u *url.URL) string {
	_, path, _ := strings.Cut(u.Path, "/mdm/v2/")
	return path
}

// fateOf reports whether the service may have carried out a write with this answer. An answer
// with an error number, or a status 4xx, shows that it has not. fate describes the answer.
func fateOf(resp *http.Response, err error) (fate string, began bool) {
	if err != nil {
		return err.Error(), !strings.Contains(err.Error(), "dial")
	}
	content, readErr := io.ReadAll(resp.Body)
	resp.Body.Close()
	rest := io.Reader(bytes.NewReader(content))
	if readErr != nil {
		rest = io.MultiReader(rest, errorReader{readErr})
	}
	resp.Body = io.NopCloser(rest)
	var answer struct {
		ErrorNumber int `json:"errorNumber"`
	}
	_ = json.Unmarshal(content, &answer)
	return fmt.Sprint(resp.StatusCode, " ", string(content)), answer.ErrorNumber == 0 && resp.StatusCode/100 != 4
}

// errorReader is a reader that returns an error.
type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

// A sendLog has the writes of operations that the service may have carried out.
type sendLog struct {
	mu    sync.Mutex
	sends map[string]map[string][]string // by operation and pair: the answers
}

func (l *sendLog) add(operation, path string, body []byte, fate string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sends == nil {
		l.sends = map[string]map[string][]string{}
	}
	if l.sends[operation] == nil {
		l.sends[operation] = map[string][]string{}
	}
	for _, pair := range pairsOfBody(body) {
		key := path + " " + pair
		l.sends[operation][key] = append(l.sends[operation][key], time.Now().Format(time.TimeOnly)+" "+fate)
	}
}

// twice returns the pairs of an operation that were sent again although the service may have
// carried out an earlier request, with the answers.
func (l *sendLog) twice(operation string) (pairs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, fates := range l.sends[operation] {
		if len(fates) > 1 {
			pairs = append(pairs, fmt.Sprintf("%s: %q", key, fates))
		}
	}
	slices.Sort(pairs)
	return pairs
}

// pairsOfBody returns the pairs in the body of a write.
func pairsOfBody(body []byte) (pairs []string) {
	var b struct {
		Assets        []struct{ AdamID string }
		AdamIDs       []int64
		ClientUserIDs []string
		SerialNumbers []string
		Users         []struct{ ClientUserID string }
		Assignments   []struct {
			AdamID       int64
			ClientUserID string
		}
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return []string{err.Error()}
	}
	var assets []string
	for _, a := range b.Assets {
		assets = append(assets, a.AdamID)
	}
	for _, id := range b.AdamIDs {
		assets = append(assets, fmt.Sprint(id))
	}
	if len(assets) == 0 {
		assets = []string{""}
	}
	targets := append(slices.Clone(b.ClientUserIDs), b.SerialNumbers...)
	for _, u := range b.Users {
		targets = append(targets, u.ClientUserID)
	}
	for _, a := range assets {
		for _, t := range targets {
			pairs = append(pairs, a+"/"+t)
		}
	}
	for _, a := range b.Assignments {
		pairs = append(pairs, fmt.Sprint(a.AdamID, "/", a.ClientUserID))
	}
	return pairs
}

// lateWrites delivers writes that got lost later than they were sent.
type lateWrites struct {
	wg sync.WaitGroup // the writes that were not delivered yet

	mu    sync.Mutex
	times []time.Time
}

// delivered returns the times at which late writes reached the stand-in.
func (l *lateWrites) delivered() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.times)
}

// deliver sends a request after a time, and drops the answer.
func (l *lateWrites) deliver(next http.RoundTripper, r *http.Request, after time.Duration) {
	l.wg.Add(1)
	time.AfterFunc(after, func() {
		defer l.wg.Done()
		l.mu.Lock()
		l.times = append(l.times, time.Now())
		l.mu.Unlock()
		if resp, err := next.RoundTrip(r); err == nil {
			resp.Body.Close()
		}
	})
}

// lagging makes the lists of assignments of a unit show each change later than it was made.
type lagging struct {
	unit *appsandbookstest.Unit

	mu      sync.Mutex
	lag     time.Duration
	changed map[appsandbookstest.Assignment]change
}

// A change is the last change of an assignment.
type change struct {
	at      time.Time
	present bool
}

func newLagging(u *appsandbookstest.Unit) *lagging {
	return &lagging{unit: u, changed: map[appsandbookstest.Assignment]change{}}
}

// set sets how late the lists are.
func (l *lagging) set(lag time.Duration) {
	l.sample()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lag = lag
}

// sample finds out what has changed since the last sample. The changes get the present time.
func (l *lagging) sample() {
	now := time.Now()
	present := map[appsandbookstest.Assignment]bool{}
	for _, a := range l.unit.Assignments() {
		present[a] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for a := range present {
		if c := l.changed[a]; !c.present {
			l.changed[a] = change{now, true}
		}
	}
	for a, c := range l.changed {
		if c.present && !present[a] {
			l.changed[a] = change{now, false}
		}
	}
}

// rewrite returns the answer to a request for assignments without the additions of the last
// seconds, and with the assignments that were removed in that time.
func (l *lagging) rewrite(r *http.Request, resp *http.Response) (*http.Response, error) {
	asked := time.Now()
	l.sample()
	content, err := io.ReadAll(resp.Body) // this can take time, so it happens without the lock
	resp.Body.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	page := map[string]json.RawMessage{}
	var list []appsandbooks.Assignment
	if err != nil || json.Unmarshal(content, &page) != nil || page["assignments"] == nil || json.Unmarshal(page["assignments"], &list) != nil {
		rest := io.Reader(bytes.NewReader(content))
		if err != nil {
			rest = io.MultiReader(rest, errorReader{err})
		}
		resp.Body = io.NopCloser(rest)
		return resp, nil
	}
	since := asked.Add(-l.lag)
	shown := []appsandbooks.Assignment{}
	for _, a := range list {
		c := l.changed[appsandbookstest.Assignment{AdamID: a.AdamID, PricingParam: string(a.PricingParam), ClientUserID: a.ClientUserID, SerialNumber: a.SerialNumber}]
		if l.lag == 0 || !c.present || !c.at.After(since) {
			shown = append(shown, a)
		}
	}
	query := r.URL.Query()
	matches := func(name, value string) bool { return query.Get(name) == "" || query.Get(name) == value }
	for a, c := range l.changed {
		if l.lag > 0 && !c.present && c.at.After(since) && query.Get("pageIndex") <= "0" &&
			matches("adamId", a.AdamID) && matches("clientUserId", a.ClientUserID) && matches("serialNumber", a.SerialNumber) {
			shown = append(shown, appsandbooks.Assignment{AssetPair: appsandbooks.AssetPair{
				AdamID: a.AdamID, PricingParam: appsandbooks.PricingParam(a.PricingParam), ClientUserID: a.ClientUserID, SerialNumber: a.SerialNumber,
			}})
		}
	}
	page["assignments"], _ = json.Marshal(shown)
	page["size"] = json.RawMessage(fmt.Sprint(len(shown)))
	content, _ = json.Marshal(page)
	resp.Body = io.NopCloser(bytes.NewReader(content))
	resp.ContentLength = int64(len(content))
	resp.Header.Set("Content-Length", fmt.Sprint(len(content)))
	return resp, nil
}
