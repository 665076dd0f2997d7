package appsandbookstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// HandlerTransport returns a transport that passes every request to h in
// memory. With [WithNotificationTransport] it delivers notifications to a
// receiver without a network. Tests in virtual time need it.
//
//	receiver := appsandbookstest.HandlerTransport(handler)
//	srv, err := appsandbookstest.NewServer(appsandbookstest.WithNotificationTransport(receiver))
//
// The handler runs in its own goroutine with the context of the request. When
// the context ends, the request ends, but the handler may run on, as in a real
// server. A panic of the handler breaks the connection.
func HandlerTransport(h http.Handler) http.RoundTripper { return handlerTransport{h} }

type handlerTransport struct{ handler http.Handler }

// RoundTrip implements [http.RoundTripper].
func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		defer r.Body.Close()
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	ctx := r.Context()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	in := r.Clone(ctx)
	in.Body = io.NopCloser(bytes.NewReader(body))
	in.ContentLength = int64(len(body))
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Host == "" {
		in.Host = r.URL.Host
	}

	done := make(chan *memoryWriter, 1)
	go func() {
		w := &memoryWriter{header: make(http.Header)}
		defer func() {
			if recover() != nil {
				w = nil
			}
			done <- w
		}()
		t.handler.ServeHTTP(w, in)
	}()
	select {
	case w := <-done:
		if w == nil {
			return nil, resetError()
		}
		return w.response(r), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// A memoryWriter is an http.ResponseWriter that stores the answer.
type memoryWriter struct {
	header     http.Header
	sentHeader http.Header // copy of the header at the first call of WriteHeader
	status     int
	body       bytes.Buffer
}

func (w *memoryWriter) Header() http.Header { return w.header }

func (w *memoryWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status, w.sentHeader = status, w.header.Clone()
	}
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Flush implements [http.Flusher].
func (w *memoryWriter) Flush() { w.WriteHeader(http.StatusOK) }

func (w *memoryWriter) response(r *http.Request) *http.Response {
	w.WriteHeader(http.StatusOK)
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sentHeader,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}
}
