package appsandbookstest

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
)

// An answerBody is the body of an answer, after a fault has changed it.
type answerBody struct {
	body     io.Reader
	length   int64  // value of Content-Length; -1 means no such header
	encoding string // for Content-Encoding
	finalErr error  // error of Read at the end of the body; nil means io.EOF
}

// answerBody returns the body that the client gets for an answer. This is the
// whole body unless the fault changes it.
func (s *Server) answerBody(ctx context.Context, rep *reply, fault *Fault) answerBody {
	plain := answerBody{body: bytes.NewReader(rep.body), length: int64(len(rep.body))}
	if fault == nil {
		return plain
	}
	half := len(rep.body) / 2
	switch fault.Kind {
	case FaultCutBody:
		plain.body = bytes.NewReader(rep.body[:half])
		plain.finalErr = io.ErrUnexpectedEOF
	case FaultSlowBody:
		plain.body = io.MultiReader(
			bytes.NewReader(rep.body[:half]),
			&pauseReader{pause: func() error { return s.wait(ctx, fault.Delay) }},
			bytes.NewReader(rep.body[half:]),
		)
	case FaultTruncatedGzip:
		b := compress(rep.body)
		b = b[:len(b)/2]
		return answerBody{body: bytes.NewReader(b), length: int64(len(b)), encoding: "gzip"}
	case FaultHugeBody:
		size := fault.Size + int64(len(rep.body))
		return answerBody{body: io.MultiReader(io.LimitReader(spaceReader{}, fault.Size), plain.body), length: size}
	case FaultGzipBomb:
		// A gzip stream may have several members, so compress one megabyte of
		// spaces once and repeat the result.
		const block = 1 << 20
		member := compress(bytes.Repeat([]byte{' '}, block))
		readers := []io.Reader{&repeatReader{data: member, times: fault.Size / block}}
		readers = append(readers, bytes.NewReader(compress(bytes.Repeat([]byte{' '}, int(fault.Size%block)))))
		readers = append(readers, bytes.NewReader(compress(rep.body)))
		return answerBody{body: io.MultiReader(readers...), length: -1, encoding: "gzip"}
	}
	return plain
}

// compress returns b compressed with gzip.
func compress(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(b) // writing to a bytes.Buffer cannot fail
	_ = w.Close()
	return buf.Bytes()
}

// A pauseReader is an empty reader that pauses before it returns io.EOF.
type pauseReader struct {
	pause  func() error
	paused bool
}

func (r *pauseReader) Read([]byte) (int, error) {
	if !r.paused {
		r.paused = true
		if err := r.pause(); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// A spaceReader returns spaces without an end.
type spaceReader struct{}

func (spaceReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// A repeatReader returns the same data a number of times.
type repeatReader struct {
	data   []byte
	offset int
	times  int64
}

func (r *repeatReader) Read(p []byte) (int, error) {
	if r.times <= 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data[r.offset:])
	if r.offset += n; r.offset == len(r.data) {
		r.offset = 0
		r.times--
	}
	return n, nil
}
