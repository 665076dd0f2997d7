package appsandbooks

import (
	"net/url"
	"regexp"
)

// discovered is the URL that the service configuration gives for a key, when
// it has been read and the URL is safe to send the token to: same scheme and
// host as the base URL, or https and Apple's while the base URL is Apple's.
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
	same := u.Scheme == base.Scheme && u.Host == base.Host
	apple := u.Scheme == "https" && u.Port() == "" && isApple(u.Host) && isApple(base.Host)
	if !same && !apple {
		return nil
	}
	return u
}

var appleHost = regexp.MustCompile(`^([a-z0-9-]+\.)*apple\.com$`)

func isApple(host string) bool { return appleHost.MatchString(host) }
