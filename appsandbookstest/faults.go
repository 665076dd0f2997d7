package appsandbookstest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
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
func (f *Fault) answers() bool {
	switch f.Kind {
	case FaultDial, FaultResetBefore, FaultResetAfter, FaultEOF:
		return false
	}
	return true
}

// intact reports whether the client can get the whole answer of the endpoint.
func (f *Fault) intact() bool { return f.Kind == FaultSlowBody }

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
	mu     sync.Mutex
	faults []*plannedFault
	random random
	drawn  uint64
}

type plannedFault struct {
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
	s.faults = append(s.faults, &plannedFault{Fault: f})
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
			s.drawn++
			if s.random.float("fault", s.drawn) >= f.Probability {
				continue
			}
		}
		f.times++
		return &f.Fault
	}
	return nil
}

// A spoiled is an answer whose body is to be sent in an unusual way.
type spoiled struct {
	body     io.Reader
	length   int64 // of what the header promises; -1 when it promises nothing
	encoding string
	err      error // ends the body instead of io.EOF
}

// spoil returns the way in which an answer is sent. Without a fault that
// concerns the body it is the plain way.
func (s *Server) spoil(ctx context.Context, rep *reply, fault *Fault) spoiled {
	plain := spoiled{body: bytes.NewReader(rep.body), length: int64(len(rep.body))}
	if fault == nil {
		return plain
	}
	half := len(rep.body) / 2
	switch fault.Kind {
	case FaultCutBody:
		plain.body = bytes.NewReader(rep.body[:half])
		plain.err = io.ErrUnexpectedEOF
	case FaultSlowBody:
		plain.body = io.MultiReader(
			bytes.NewReader(rep.body[:half]),
			&pauseReader{pause: func() error { return s.wait(ctx, fault.Delay) }},
			bytes.NewReader(rep.body[half:]),
		)
	case FaultTruncatedGzip:
		b := compress(rep.body)
		b = b[:len(b)/2]
		return spoiled{body: bytes.NewReader(b), length: int64(len(b)), encoding: "gzip"}
	case FaultHugeBody:
		size := fault.Size + int64(len(rep.body))
		return spoiled{body: io.MultiReader(io.LimitReader(blanks{}, fault.Size), plain.body), length: size}
	case FaultGzipBomb:
		// A gzip stream may have any number of members: one of a megabyte
		// is compressed once and repeated.
		const block = 1 << 20
		member := compress(bytes.Repeat([]byte{' '}, block))
		readers := []io.Reader{&repeatReader{data: member, times: fault.Size / block}}
		readers = append(readers, bytes.NewReader(compress(bytes.Repeat([]byte{' '}, int(fault.Size%block)))))
		readers = append(readers, bytes.NewReader(compress(rep.body)))
		return spoiled{body: io.MultiReader(readers...), length: -1, encoding: "gzip"}
	}
	return plain
}

func compress(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(b) // a bytes.Buffer takes everything
	_ = w.Close()
	return buf.Bytes()
}

// A pauseReader pauses once and then is at its end.
type pauseReader struct {
	pause func() error
	done  bool
}

func (r *pauseReader) Read([]byte) (int, error) {
	if !r.done {
		r.done = true
		if err := r.pause(); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// blanks is an endless stream of white space.
type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// A repeatReader reads the same data a number of times.
type repeatReader struct {
	data  []byte
	at    int
	times int64
}

func (r *repeatReader) Read(p []byte) (int, error) {
	if r.times <= 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data[r.at:])
	if r.at += n; r.at == len(r.data) {
		r.at = 0
		r.times--
	}
	return n, nil
}
