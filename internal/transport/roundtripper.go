package transport

import "net/http"

// bare hides what else a RoundTripper can do. The retry loop closes the idle
// connections of its client on each failure; a shared pool is to stay warm.
type bare struct{ next http.RoundTripper }

// RoundTrip also drops the target of a redirect: net/http would fail on one that
// it cannot parse, although nobody follows it.
func (b bare) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if resp != nil && resp.StatusCode/100 == 3 && resp.Header.Get("Location") != "" {
		resp.Header = resp.Header.Clone()
		resp.Header.Del("Location")
	}
	return resp, err
}
