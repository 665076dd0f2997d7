package appsandbookstest

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"syscall"
	"time"
)

// Client returns an HTTP client that sends all requests to the server in
// memory, to whatever host they are addressed.
func (s *Server) Client() *http.Client { return &http.Client{Transport: s.Transport()} }

// Transport returns a transport that sends all requests to the server in
// memory, to whatever host they are addressed. It starts no goroutines and
// waits only with timers, so it works in the virtual time of testing/synctest.
// It handles contexts, request bodies, net/http/httptrace hooks and compressed answers
// like an [http.Transport].
func (s *Server) Transport() http.RoundTripper { return &memoryTransport{s} }

type memoryTransport struct{ srv *Server }

// RoundTrip implements [http.RoundTripper].
func (t *memoryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if r.URL == nil || r.URL.Host == "" {
		return nil, errors.New("appsandbookstest: request without a host")
	}
	ctx := r.Context()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	trace := traceHooks(ctx)
	trace.GetConn(hostPort(r))

	s := t.srv
	if !s.startWork() {
		return nil, dialError(http.ErrServerClosed)
	}
	defer s.wg.Done()

	in := &incomingRequest{
		method:   r.Method,
		base:     r.URL.Scheme + "://" + r.URL.Host,
		urlPath:  r.URL.Path,
		rawQuery: r.URL.RawQuery,
		header:   r.Header,
	}
	if in.method == "" {
		in.method = http.MethodGet
	}
	fault := s.pickFault(in)
	if fault != nil && fault.Kind == FaultDial {
		return nil, dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	trace.GotConn(httptrace.GotConnInfo{Conn: memoryConn{}})
	trace.WroteHeaders()
	if r.Body != nil {
		var err error
		if in.body, err = io.ReadAll(r.Body); err != nil {
			trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
			return nil, err
		}
	}
	trace.WroteRequest(httptrace.WroteRequestInfo{})

	rep, err := s.exchange(ctx, in, fault)
	if err != nil {
		return nil, err
	}
	if fault != nil {
		switch fault.Kind {
		case FaultResetBefore, FaultResetAfter:
			return nil, resetError()
		case FaultEOF:
			return nil, fmt.Errorf("appsandbookstest: connection broken: %w", io.ErrUnexpectedEOF)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	trace.GotFirstResponseByte()
	return s.response(ctx, r, rep, fault)
}

// response returns the HTTP response for a reply, like an [http.Transport] that
// reads it from a connection.
func (s *Server) response(ctx context.Context, r *http.Request, rep *reply, fault *Fault) (*http.Response, error) {
	how := s.answerBody(ctx, rep, fault)
	resp := &http.Response{
		Status:        fmt.Sprintf("%d %s", rep.status, http.StatusText(rep.status)),
		StatusCode:    rep.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        rep.header.Clone(),
		ContentLength: how.length,
		Request:       r,
	}
	if resp.Header.Get("Date") == "" { // a fault may set its own date
		resp.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	if how.length >= 0 {
		resp.Header.Set("Content-Length", fmt.Sprint(how.length))
	}
	body := &memoryBody{ctx: ctx, r: how.body, finalErr: how.finalErr}
	resp.Body = body
	if how.encoding != "" {
		resp.Header.Set("Content-Encoding", how.encoding)
		// Like http.Transport, decompress the body unless the caller set Accept-Encoding.
		if r.Header.Get("Accept-Encoding") == "" {
			body.r = &gunzipReader{src: how.body}
			resp.Header.Del("Content-Encoding")
			resp.Header.Del("Content-Length")
			resp.ContentLength = -1
			resp.Uncompressed = true
		}
	}
	return resp, nil
}

// dialError returns the error of a connection that could not be made.
func dialError(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: memoryAddr{}, Err: err}
}

// resetError returns the error of a connection that was reset.
func resetError() error {
	return &net.OpError{
		Op: "read", Net: "tcp", Source: memoryAddr{}, Addr: memoryAddr{},
		Err: os.NewSyscallError("read", syscall.ECONNRESET),
	}
}

// hostPort returns the host and port of a request's URL.
func hostPort(r *http.Request) string {
	port := r.URL.Port()
	if port == "" {
		port = "80"
		if r.URL.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(r.URL.Hostname(), port)
}

// A memoryBody is the body of an answer in memory.
type memoryBody struct {
	ctx      context.Context
	r        io.Reader
	finalErr error // error of Read at the end of the body; nil means io.EOF
	closed   bool
}

func (b *memoryBody) Read(p []byte) (int, error) {
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if err := context.Cause(b.ctx); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if err == io.EOF && b.finalErr != nil {
		err = b.finalErr
	}
	return n, err
}

func (b *memoryBody) Close() error {
	b.closed = true
	return nil
}

// A gunzipReader decompresses src. It reads nothing from src before the first
// call of Read.
type gunzipReader struct {
	src io.Reader
	zr  *gzip.Reader
	err error
}

func (g *gunzipReader) Read(p []byte) (int, error) {
	if g.zr == nil && g.err == nil {
		g.zr, g.err = gzip.NewReader(g.src)
	}
	if g.err != nil {
		return 0, g.err
	}
	return g.zr.Read(p)
}

// memoryAddr and memoryConn are the address and the connection of requests in
// memory. The hooks of net/http/httptrace and network errors show them.
type memoryAddr struct{}

func (memoryAddr) Network() string { return "tcp" }

func (memoryAddr) String() string { return "in-memory" }

type memoryConn struct{}

func (memoryConn) Read([]byte) (int, error) { return 0, io.EOF }

func (memoryConn) Write(p []byte) (int, error) { return len(p), nil }

func (memoryConn) Close() error { return nil }

func (memoryConn) LocalAddr() net.Addr { return memoryAddr{} }

func (memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

func (memoryConn) SetDeadline(time.Time) error { return nil }

func (memoryConn) SetReadDeadline(time.Time) error { return nil }

func (memoryConn) SetWriteDeadline(time.Time) error { return nil }

// traceHooks returns the trace of a context. In the trace, every hook that this
// package calls is set.
func traceHooks(ctx context.Context) *httptrace.ClientTrace {
	t := httptrace.ClientTrace{}
	if have := httptrace.ContextClientTrace(ctx); have != nil {
		t = *have
	}
	if t.GetConn == nil {
		t.GetConn = func(string) {}
	}
	if t.GotConn == nil {
		t.GotConn = func(httptrace.GotConnInfo) {}
	}
	if t.WroteHeaders == nil {
		t.WroteHeaders = func() {}
	}
	if t.WroteRequest == nil {
		t.WroteRequest = func(httptrace.WroteRequestInfo) {}
	}
	if t.GotFirstResponseByte == nil {
		t.GotFirstResponseByte = func() {}
	}
	return &t
}
