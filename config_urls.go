package appsandbooks

import (
	"net/url"
	"regexp"
)

// discoveredURL returns the URL that the service configuration contains for a key. It
// returns nil if the configuration has not been read, or if it is not safe to send the
// token to the URL. A URL is safe if it has the scheme and the host of the base URL, or
// if it is https, has no port, and both hosts are Apple's.
func (s *ConfigService) discoveredURL(key string) *url.URL {
	c := s.cached.Load()
	if key == "" || c == nil {
		return nil
	}
	u, err := url.Parse(c.config.URLs[key])
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil
	}
	base := s.client.base
	sameHost := u.Scheme == base.Scheme && u.Host == base.Host
	bothApple := u.Scheme == "https" && u.Port() == "" && isAppleHost(u.Host) && isAppleHost(base.Host)
	if !sameHost && !bothApple {
		return nil
	}
	return u
}

var appleHost = regexp.MustCompile(`^([a-z0-9-]+\.)*apple\.com$`)

// isAppleHost reports whether host is apple.com or a subdomain of it, in lower case.
func isAppleHost(host string) bool { return appleHost.MatchString(host) }
