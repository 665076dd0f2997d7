package appsandbookstest

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A FaultKind says what goes wrong with a request.
type FaultKind string

// The kinds of faults.
const (
	// FaultRespond answers with the Status, Header and Body of the fault.
	// The request is not processed, unless the fault says Process.
	FaultRespond FaultKind = "respond"

	// FaultDial fails to connect: the request never reaches the server and
	// is not recorded. Over TCP, where the connection already exists, it is
	// reset instead.
	FaultDial FaultKind = "dial"

	// FaultResetBefore resets the connection after the request was sent and
	// before it is processed.
	FaultResetBefore FaultKind = "reset-before"

	// FaultResetAfter resets the connection after the request was processed.
	FaultResetAfter FaultKind = "reset-after"

	// FaultEOF ends the connection amid the header of the answer. The request
	// was processed.
	FaultEOF FaultKind = "eof"

	// FaultCutBody ends the connection amid the body of the answer. The
	// request was processed.
	FaultCutBody FaultKind = "cut-body"

	// FaultSlowBody pauses for Delay amid the body of the answer, which is
	// complete in the end.
	FaultSlowBody FaultKind = "slow-body"

	// FaultTruncatedGzip compresses the body of the answer and leaves the
	// second half out. The HTTP message is complete; the data is not.
	FaultTruncatedGzip FaultKind = "truncated-gzip"

	// FaultHugeBody puts Size bytes of white space before the body of the
	// answer.
	FaultHugeBody FaultKind = "huge-body"

	// FaultGzipBomb compresses a body like that of FaultHugeBody, so that
	// little is sent and much has to be expanded.
	FaultGzipBomb FaultKind = "gzip-bomb"
)

// A Fault makes requests go wrong. The zero value of each field of the first
// group matches, and of the second group means what its comment says.
//
//	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Times: 1})
//	srv.AddFault(appsandbookstest.Fault{Number: 9646, Times: 3})
//	srv.AddFault(appsandbookstest.Fault{Number: 9603, Header: http.Header{"Retry-After": {"120"}}, Times: 1})
//	srv.AddFault(appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>", Probability: 0.1})
//	srv.AddFault(appsandbookstest.Fault{Status: 200, Number: 9622})
type Fault struct {
	// Which requests.

	Method      string  // "GET", for instance
	Path        string  // path below /mdm/v2/, or a parent of it: "assets" matches "assets/revoke" too
	Unit        *Unit   // requests with a token of this unit
	After       int     // leave out the first matching requests
	Times       int     // how often the fault occurs; zero means always
	Probability float64 // of occurring on a matching request; zero means always

	// What happens to them.

	Kind    FaultKind   // empty means FaultRespond
	Status  int         // for FaultRespond; zero means the status that belongs to Number, or 500
	Header  http.Header // for FaultRespond, added to the answer
	Body    string      // for FaultRespond; empty with a Number means the error in JSON
	Number  int         // for FaultRespond, an error number
	Process bool        // for FaultRespond, process the request before losing its answer

	Delay time.Duration // for FaultSlowBody; zero means one second
	Size  int64         // for FaultHugeBody and FaultGzipBomb; zero means 256 MiB
}

// answers reports whether the client gets the header of an answer.
func (f *Fault) sendsHeader() bool {
	switch f.Kind {
	case FaultDial, FaultResetBefore, FaultResetAfter, FaultEOF:
		return false
	}
	return true
}

// intact reports whether the client can get the whole answer of the endpoint.
func (f *Fault) sendsWholeBody() bool { return f.Kind == FaultSlowBody }

// reply returns the answer of FaultRespond.
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

// A faultSet chooses the fault of each request.
type faultSet struct {
	mu       sync.Mutex
	faults   []*addedFault
	random   random
	lastDraw uint64
}

type addedFault struct {
	Fault
	seen  int // matching requests so far
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

// pick returns the fault that occurs on a request, or nil.
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
