package transport

import "net/http"

// restrictedTransport hides all methods of a RoundTripper except RoundTrip. The retry loop calls
// CloseIdleConnections after every failure, which would close the idle connections of other users
// of the same RoundTripper.
type restrictedTransport struct{ next http.RoundTripper }

// RoundTrip removes the Location header of a redirect. The SDK follows no redirects, but net/http
// would fail on a Location that it cannot parse.
func (t restrictedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if resp != nil && resp.StatusCode/100 == 3 && resp.Header.Get("Location") != "" {
		resp.Header = resp.Header.Clone()
		resp.Header.Del("Location")
	}
	return resp, err
}
