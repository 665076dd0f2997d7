package appsandbookstest

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A FaultKind is a kind of [Fault].
type FaultKind string

// A fault has one of these kinds.
const (
	// FaultRespond answers with the Status, Header and Body of the fault.
	// The server processes the request only if Process is true.
	FaultRespond FaultKind = "respond"

	// FaultDial makes the connection fail. The request does not reach the
	// server and is not recorded. Over TCP the connection already exists,
	// so the server resets it.
	FaultDial FaultKind = "dial"

	// FaultResetBefore resets the connection after the client has sent the
	// request, and before the server processes it.
	FaultResetBefore FaultKind = "reset-before"

	// FaultResetAfter resets the connection after the server has processed
	// the request.
	FaultResetAfter FaultKind = "reset-after"

	// FaultEOF processes the request, and ends the connection in the middle
	// of the header of the answer.
	FaultEOF FaultKind = "eof"

	// FaultCutBody processes the request, and ends the connection in the
	// middle of the body of the answer.
	FaultCutBody FaultKind = "cut-body"

	// FaultSlowBody processes the request, and pauses for Delay in the
	// middle of the body of the answer. The body is complete in the end.
	FaultSlowBody FaultKind = "slow-body"

	// FaultTruncatedGzip compresses the body of the answer and sends only
	// its first half. The HTTP message is complete, but the compressed data
	// is not.
	FaultTruncatedGzip FaultKind = "truncated-gzip"

	// FaultHugeBody sends Size bytes of white space before the body of the
	// answer.
	FaultHugeBody FaultKind = "huge-body"

	// FaultGzipBomb compresses a body like that of FaultHugeBody. The
	// answer is small, but the client has to expand it to Size bytes.
	FaultGzipBomb FaultKind = "gzip-bomb"
)

// A Fault makes requests fail. The fields of the first group select the
// requests. A field of this group with the zero value selects all requests. The
// fields of the second group define what happens to the selected requests.
//
//	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Times: 1})
//	srv.AddFault(appsandbookstest.Fault{Number: 9646, Times: 3})
//	srv.AddFault(appsandbookstest.Fault{Number: 9603, Header: http.Header{"Retry-After": {"120"}}, Times: 1})
//	srv.AddFault(appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>", Probability: 0.1})
//	srv.AddFault(appsandbookstest.Fault{Status: 200, Number: 9622})
type Fault struct {
	// These fields select requests.

	Method      string  // such as "GET"
	Path        string  // path below /mdm/v2/, or its first elements: "assets" also selects "assets/revoke"
	Unit        *Unit   // selects requests with the token of this unit; nil selects those of all units
	After       int     // number of selected requests before the fault occurs for the first time
	Times       int     // number of times that the fault occurs; zero means no limit
	Probability float64 // probability that the fault occurs on a selected request; zero means 1

	// These fields define what happens to the selected requests.

	Kind    FaultKind   // empty means FaultRespond
	Status  int         // HTTP status for FaultRespond; zero means that of Number, or 500 without a Number
	Header  http.Header // for FaultRespond: fields to add to the header of the answer
	Body    string      // body for FaultRespond; empty means the error with Number as JSON
	Number  int         // error number that FaultRespond sends
	Process bool        // for FaultRespond: process the request, but send the answer of the fault

	Delay time.Duration // length of the pause of FaultSlowBody; zero means one second
	Size  int64         // bytes of white space that FaultHugeBody and FaultGzipBomb add; zero means 256 MiB
}

// sendsHeader reports whether the client gets the header of an answer.
func (f *Fault) sendsHeader() bool {
	switch f.Kind {
	case FaultDial, FaultResetBefore, FaultResetAfter, FaultEOF:
		return false
	}
	return true
}

// sendsWholeBody reports whether the client gets the whole answer of the
// endpoint.
func (f *Fault) sendsWholeBody() bool { return f.Kind == FaultSlowBody }

// reply returns the answer that a fault of the kind FaultRespond sends.
func (f *Fault) reply() *reply {
	rep := &reply{status: f.Status, header: make(http.Header), number: f.Number}
	if rep.status == 0 {
		rep.status = http.StatusInternalServerError
		if f.Number != 0 {
			rep.status = statusOf(f.Number)
		}
	}
	switch {
	case f.Body != "":
		rep.body = []byte(f.Body)
		rep.header.Set("Content-Type", http.DetectContentType(rep.body))
		if json.Valid(rep.body) {
			rep.header.Set("Content-Type", "application/json;charset=UTF-8")
		}
	case f.Number != 0:
		*rep = *jsonReply(rep.status, newWireError(f.Number, nil))
		rep.number = f.Number
	}
	for name, values := range f.Header {
		rep.header[http.CanonicalHeaderKey(name)] = values
	}
	return rep
}

// A faultSet holds the faults of a server, and chooses one for each request.
type faultSet struct {
	mu       sync.Mutex
	faults   []*addedFault
	random   random
	lastDraw uint64
}

// An addedFault is a fault of a server with the counters for After and Times.
type addedFault struct {
	Fault
	seen  int // selected requests so far
	times int // occurrences so far
}

func (s *faultSet) add(f Fault) {
	if f.Kind == "" {
		f.Kind = FaultRespond
	}
	if f.Delay <= 0 {
		f.Delay = time.Second
	}
	if f.Size <= 0 {
		f.Size = 256 << 20
	}
	f.Path = strings.Trim(f.Path, "/")
	f.Header = f.Header.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &addedFault{Fault: f})
}

func (s *faultSet) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// pick returns the first fault that occurs on a request, or nil.
func (s *faultSet) pick(method, path string, u *Unit) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		switch {
		case f.Method != "" && !strings.EqualFold(f.Method, method),
			f.Path != "" && path != f.Path && !strings.HasPrefix(path, f.Path+"/"),
			f.Unit != nil && f.Unit != u:
			continue
		}
		f.seen++
		if f.seen <= f.After || f.Times > 0 && f.times >= f.Times {
			continue
		}
		if f.Probability > 0 {
			s.lastDraw++
			if s.random.float("fault", s.lastDraw) >= f.Probability {
				continue
			}
		}
		f.times++
		return &f.Fault
	}
	return nil
}

// pickFault returns the fault that occurs on a request, or nil.
func (s *Server) pickFault(in *incomingRequest) *Fault {
	var u *Unit
	if tok := s.lookup(in.header); tok != nil {
		u = tok.unit
	}
	return s.faults.pick(in.method, in.endpointPath(), u)
}
