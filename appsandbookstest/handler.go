package appsandbookstest

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
)

// ServeHTTP implements [http.Handler]. It answers requests over the network in
// the same way as [Server.Transport] answers requests in memory.
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
		return // the client has closed the connection
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
		_, _ = w.Write(rep.body) // an error means that the client has closed the connection
		return
	}
	if err := copyAndFlush(w, how.body); err != nil || how.finalErr != nil {
		panic(http.ErrAbortHandler) // closes the connection
	}
}

// copyAndFlush copies a body to w, and flushes after each piece, so that the
// client gets what was sent before a pause or an error.
func copyAndFlush(w http.ResponseWriter, body io.Reader) error {
	flush := http.NewResponseController(w)
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			_ = flush.Flush() // w may not support it
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// breakConnection sends the text start to the client and closes the connection.
// If start is empty, it resets the connection instead.
func breakConnection(w http.ResponseWriter, start string) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // with HTTP/2 this panic resets the stream
	}
	if start != "" {
		_, _ = buf.WriteString(start)
		_ = buf.Flush()
	} else if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // so that Close sends a reset
	}
	_ = conn.Close()
}
