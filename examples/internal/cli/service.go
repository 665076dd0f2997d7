package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// The variables that say which service to talk to. Flags come first.
const (
	tokenVariable = "APPSANDBOOKS_STOKEN"
	urlVariable   = "APPSANDBOOKS_BASE_URL"
)

// Client makes a client of the service that the flags and variables name.
//
// Without any of them it makes one of the stand-in that standIn returns, says
// so, and asks for the status of events early, as nobody is bothered by that. If
// standIn is nil, a content token is a must. Client and stand-in are closed when
// the program ends.
func (p *Program) Client(standIn func() (*appsandbookstest.Server, error), more ...appsandbooks.Option) (*appsandbooks.Client, error) {
	token, err := p.token()
	if err != nil {
		return nil, err
	}
	base := p.url
	if base == "" {
		base = p.getenv(urlVariable)
	}
	firstLook := p.firstLook
	switch {
	case token != "":
		p.warn(token)
	case base == "" && standIn != nil:
		srv, err := standIn()
		if err != nil {
			return nil, err
		}
		p.OnExit(srv.Close)
		if err := srv.Listen(""); err != nil {
			return nil, err
		}
		token, base = srv.Unit().Token(), srv.URL()
		if !p.Given("first-look") {
			firstLook = 100 * time.Millisecond
		}
		p.Notef("neither -token-file nor %s is given: using a stand-in for Apple's service, at %s", tokenVariable, base)
	default:
		return nil, Usagef("a content token is needed: give -token-file or %s", tokenVariable)
	}

	opts := []appsandbooks.Option{
		appsandbooks.WithUserAgent("appsandbooks-example-" + p.Flags.Name()),
		appsandbooks.WithPolling(firstLook, p.poll),
	}
	if base != "" {
		opts = append(opts, appsandbooks.WithBaseURL(base))
	}
	if p.verbose {
		opts = append(opts, appsandbooks.WithLogger(p.Log))
	}
	client, err := appsandbooks.NewClient(token, append(opts, more...)...)
	if errors.Is(err, appsandbooks.ErrInvalid) {
		return nil, &usageError{err}
	}
	if err != nil {
		return nil, err
	}
	p.OnExit(client.Close)
	return client, nil
}

// token is the content token; empty when none is given.
func (p *Program) token() (string, error) {
	if p.tokenFile == "" {
		return p.getenv(tokenVariable), nil
	}
	content, err := os.ReadFile(p.tokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the content token: %w", err)
	}
	if len(content) == 0 {
		return "", fmt.Errorf("reading the content token: %s is empty", p.tokenFile)
	}
	return string(content), nil
}

// warn says what is odd about a token. It is used nevertheless: only the
// service knows whether it is good.
func (p *Program) warn(token string) {
	t, err := appsandbooks.ParseToken(token)
	switch {
	case err != nil:
		p.Notef("warning: %v", err)
	case !t.ExpirationDate.IsZero() && time.Now().After(t.ExpirationDate):
		p.Notef("warning: the content token expired on %s", t.ExpirationDate.Format(time.DateOnly))
	}
}
