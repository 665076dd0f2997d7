package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// These environment variables select the service. Flags override them.
const (
	tokenVariable = "APPSANDBOOKS_STOKEN"
	urlVariable   = "APPSANDBOOKS_BASE_URL"
)

// Client returns a client of the service that the flags and variables select.
//
// If the flags and variables give neither a content token nor a URL, Client starts
// the stand-in that standIn returns, prints a note, and returns a client of the
// stand-in. This client polls an event for the first time after 100 ms, unless
// -first-poll is given. If standIn is nil, a content token is required. The client
// and the stand-in are closed when the program ends.
func (p *Program) Client(standIn func() (*appsandbookstest.Server, error), more ...appsandbooks.Option) (*appsandbooks.Client, error) {
	token, err := p.token()
	if err != nil {
		return nil, err
	}
	base := p.url
	if base == "" {
		base = p.getenv(urlVariable)
	}
	firstPoll := p.firstPoll
	switch {
	case token != "":
		p.checkToken(token)
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
		if !p.Given("first-poll") {
			firstPoll = 100 * time.Millisecond
		}
		p.Notef("no content token (-token-file or %s): using a stand-in for Apple's service at %s", tokenVariable, base)
	default:
		return nil, Usagef("the content token is missing: give -token-file or set the variable %s", tokenVariable)
	}

	opts := []appsandbooks.Option{
		appsandbooks.WithUserAgent("appsandbooks-example-" + p.Flags.Name()),
		appsandbooks.WithPolling(firstPoll, p.poll),
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

// token returns the content token of the flags or variables, or "" if none is given.
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

// checkToken prints a warning if a content token is malformed or expired. The
// program uses the token anyway, because only the service can decide whether it is
// valid.
func (p *Program) checkToken(token string) {
	t, err := appsandbooks.ParseToken(token)
	switch {
	case err != nil:
		p.Notef("warning: %v", err)
	case !t.ExpirationDate.IsZero() && time.Now().After(t.ExpirationDate):
		p.Notef("warning: the content token expired on %s", t.ExpirationDate.Format(time.DateOnly))
	}
}
