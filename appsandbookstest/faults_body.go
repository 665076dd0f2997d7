package appsandbookstest

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
)

// A spoiled is an answer whose body is to be sent in an unusual way.
type answerBody struct {
	body     io.Reader
	length   int64 // of what the header promises; -1 when it promises nothing
	encoding string
	finalErr error // ends the body instead of io.EOF
}

// spoil returns the way in which an answer is sent. Without a fault that
// concerns the body it is the plain way.
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
		// A gzip stream may have any number of members: one of a megabyte
		// is compressed once and repeated.
		const block = 1 << 20
		member := compress(bytes.Repeat([]byte{' '}, block))
		readers := []io.Reader{&repeatReader{data: member, times: fault.Size / block}}
		readers = append(readers, bytes.NewReader(compress(bytes.Repeat([]byte{' '}, int(fault.Size%block)))))
		readers = append(readers, bytes.NewReader(compress(rep.body)))
		return answerBody{body: io.MultiReader(readers...), length: -1, encoding: "gzip"}
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

// blanks is an endless stream of white space.
type spaceReader struct{}

func (spaceReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// A repeatReader reads the same data a number of times.
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
