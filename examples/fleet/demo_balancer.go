//go:build unix

package main

import (
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// startBalancer starts a load balancer that sends each notification to a random machine,
// even if that machine does not run at the moment.
func (m *machines) startBalancer() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			x := m.all[rand.IntN(len(m.all))]
			r.SetURL(&url.URL{Scheme: "http", Host: x.addr})
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second, ErrorLog: proxy.ErrorLog}
	go func() { _ = srv.Serve(l) }()
	return l, nil
}
