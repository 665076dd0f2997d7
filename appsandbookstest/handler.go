package appsandbookstest

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
)

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.startWork() {
		http.Error(w, "server closed", http.StatusServiceUnavailable)
		return
	}
	defer s.wg.Done()

	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	in := &incomingRequest{
		method:   r.Method,
		base:     scheme + "://" + r.Host,
		urlPath:  r.URL.Path,
		rawQuery: r.URL.RawQuery,
		header:   r.Header,
	}
	fault := s.pickFault(in)
	if fault != nil && fault.Kind == FaultDial {
		breakConnection(w, "")
		return
	}
	var err error
	if in.body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return // the client went away
	}
	rep, err := s.exchange(r.Context(), in, fault)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if fault != nil {
		switch fault.Kind {
		case FaultResetBefore, FaultResetAfter:
			breakConnection(w, "")
			return
		case FaultEOF:
			breakConnection(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
			return
		}
	}

	how := s.answerBody(r.Context(), rep, fault)
	maps.Copy(w.Header(), rep.header)
	if how.encoding != "" {
		w.Header().Set("Content-Encoding", how.encoding)
	}
	if how.length >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(how.length))
	}
	w.WriteHeader(rep.status)
	if fault == nil {
		_, _ = w.Write(rep.body) // an error means that the client went away
		return
	}
	if err := copyAndFlush(w, how.body); err != nil || how.finalErr != nil {
		panic(http.ErrAbortHandler) // cuts the connection
	}
}

// copyFlushing copies a body and sends each piece on its way at once.
func copyAndFlush(w http.ResponseWriter, body io.Reader) error {
	flush := http.NewResponseController(w)
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			_ = flush.Flush() // best effort; not every writer can
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// breakConnection writes the start of an answer and resets the connection.
// Without a start nothing is sent but the reset.
func breakConnection(w http.ResponseWriter, start string) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // not HTTP/1: the stream is reset
	}
	if start != "" {
		_, _ = buf.WriteString(start)
		_ = buf.Flush()
	} else if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes Close send a reset
	}
	_ = conn.Close()
}
