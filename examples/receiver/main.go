// Receiver receives the notifications of an organizational unit and prints each
// notification once, as a line of JSON.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

const help = `
Receiver receives the notifications of an organizational unit and prints each
notification once, as a line of JSON.

Usage:
  receiver -listen ADDRESS -notification-url URL [flags]

It listens on ADDRESS and registers URL with the service. URL must be https. A
proxy must decrypt the requests to URL and forward them to ADDRESS. The lines of
JSON go to standard output, everything else goes to standard error.

WARNING: the registration replaces the notification URL that is registered with
the service. With -mdm-id and -mdm-name, Receiver also registers itself as the
device management service of the unit.

If Receiver cannot print a notification, it does not acknowledge it, so that the
service sends the notification again. After Ctrl-C or SIGTERM it still prints the
notifications that it is receiving.

Notifications contain a secret. The variable APPSANDBOOKS_NOTIFICATION_SECRET sets
it; otherwise it is random. If you change it, set the variable
APPSANDBOOKS_NOTIFICATION_SECRET_PREVIOUS to the old secret. Receiver then accepts
both, because the service can still send notifications with the old one.

Without a content token it starts a stand-in for Apple's service, and buys a few
licenses there, so that notifications arrive.

Exit codes:
  0  Ctrl-C or SIGTERM ended the program
  1  an error stopped the program
  2  invalid flags
`

const (
	secretVariable   = "APPSANDBOOKS_NOTIFICATION_SECRET"
	previousVariable = secretVariable + "_PREVIOUS"
)

func main() { cli.Main("receiver", help, run) }

func run(ctx context.Context, p *cli.Program) error {
	p.ReceiverFlags()
	var mdm appsandbooks.MDMInfo
	p.Flags.StringVar(&mdm.ID, "mdm-id", "", "`id` of the device management service to register")
	p.Flags.StringVar(&mdm.Name, "mdm-name", "", "`name` of the device management service to register")
	if err := p.Parse(); err != nil {
		return err
	}
	var standIn *appsandbookstest.Server
	client, err := p.Client(func() (*appsandbookstest.Server, error) {
		srv, err := appsandbookstest.NewServer()
		if err != nil {
			return nil, err
		}
		standIn = srv
		return standIn, nil
	})
	if err != nil {
		return err
	}
	if standIn == nil && (p.Listen == "" || p.NotificationURL == "") {
		return cli.Usagef("-listen and -notification-url are required")
	}

	l, err := net.Listen("tcp", cmp.Or(p.Listen, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	secret := cmp.Or(os.Getenv(secretVariable), rand.Text())
	r := appsandbooks.Registration{
		NotificationURL:       cmp.Or(p.NotificationURL, "http://"+l.Addr().String()+"/notifications"),
		NotificationAuthToken: appsandbooks.NewSecret(secret),
	}
	if mdm.ID != "" {
		mdm.Metadata = "appsandbooks-example"
		r.MDMInfo = &mdm
	}
	lines := &printer{w: p.Stdout}
	r.Handler, err = newHandler(p, lines, secret, os.Getenv(previousVariable))
	if err != nil {
		return err
	}
	return receive(ctx, p, l, client, r, func() {
		if standIn != nil {
			for i := range 3 {
				standIn.Unit().Purchase("361309726", "STDQ", 25*(i+1))
			}
		}
	})
}

// receive registers the notification URL and serves notifications until ctx is
// canceled. It calls the function registered after the registration.
func receive(ctx context.Context, p *cli.Program, l net.Listener, client *appsandbooks.Client, r appsandbooks.Registration, registered func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- r.Handler.Serve(ctx, l) }()
	p.Notef("listening on %s", l.Addr())

	config, err := client.Config.Register(ctx, r)
	switch {
	case errors.Is(err, appsandbooks.ErrAnswerDiffers):
		p.Notef("warning: %v", err)
	case err != nil:
		stop()
		return errors.Join(err, <-served)
	}
	p.Notef("registered: the service sends the notifications of unit %s to %s", config.UID, config.NotificationURL)
	registered()
	return <-served
}

// newHandler returns a handler that prints notifications. The handler accepts secret
// and, unless it is "", the previous secret.
func newHandler(p *cli.Program, lines *printer, secret, previous string) (*appsandbooks.NotificationHandler, error) {
	secrets := []appsandbooks.Secret{appsandbooks.NewSecret(secret)}
	if previous != "" {
		secrets = append(secrets, appsandbooks.NewSecret(previous))
	}
	log := slog.New(slog.NewTextHandler(p.Stderr, nil))
	return appsandbooks.NewNotificationHandler(
		func(_ context.Context, n *appsandbooks.Notification) error { return lines.print(n) },
		appsandbooks.WithNotificationSecrets(secrets...),
		appsandbooks.WithNotificationLogger(log),
		appsandbooks.WithNotify(func(n *appsandbooks.Notification) {
			if n.Type == appsandbooks.NotificationTest {
				p.Notef("received the test notification of the service")
			}
		}))
}

// printer writes lines of JSON. Several goroutines can use it at the same time.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

// print writes v as a line of JSON.
func (p *printer) print(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing a line: %w", err)
	}
	return nil
}
