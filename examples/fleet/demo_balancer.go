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
	"sync"
	"time"
)

// balance is a load balancer that sends each request to any of the machines,
// whether it is alive or not.
func (m *machines) balance(random *rand.Rand, mu *sync.Mutex) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			mu.Lock()
			x := m.all[random.IntN(len(m.all))]
			mu.Unlock()
			r.SetURL(&url.URL{Scheme: "http", Host: x.addr})
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second, ErrorLog: proxy.ErrorLog}
	go func() { _ = srv.Serve(l) }()
	return l, nil
}
