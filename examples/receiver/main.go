// Receiver receives the notifications of an organizational unit and prints each
// once, as a line of JSON.
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
Usage: receiver -listen ADDRESS -notification-url URL [flags]

Receives the notifications of an organizational unit. It listens on ADDRESS,
registers URL with the service, and prints one line of JSON for each distinct
notification to standard output; everything else goes to standard error. The
URL must be https and lead to ADDRESS through a proxy that ends TLS. A signal
(Ctrl-C, SIGTERM) ends it in good order: what is under way is still printed.

A line that could not be written is not acknowledged, so that the service
delivers the notification again.

The secret that the service is to send along is taken from the variable
APPSANDBOOKS_NOTIFICATION_SECRET, or else made at random. The previous one, in
APPSANDBOOKS_NOTIFICATION_SECRET_PREVIOUS, is accepted as well: after a change
of the secret, what is delivered once more may still carry it.

MIND: the registration replaces the notification URL that the service had.
With -mdm-id and -mdm-name it also claims the organizational unit.

Without a content token it starts a stand-in for Apple's service by itself and
buys a few licences there, so that there is something to print.
`

const (
	secretVariable   = "APPSANDBOOKS_NOTIFICATION_SECRET"
	previousVariable = secretVariable + "_PREVIOUS"
)

func main() { cli.Main("receiver", help, run) }

func run(ctx context.Context, p *cli.Program) error {
	p.ReceiverFlags()
	var mdm appsandbooks.MDMInfo
	p.Flags.StringVar(&mdm.ID, "mdm-id", "", "`id` to claim the organizational unit with")
	p.Flags.StringVar(&mdm.Name, "mdm-name", "", "`name` to claim it with")
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
		return cli.Usagef("-listen and -notification-url are needed")
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
	r.Handler, err = receiver(p, lines, secret, os.Getenv(previousVariable))
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

// receive serves until ctx ends. Registered is called once notifications come.
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
	p.Notef("the service sends notifications of unit %s to %s", config.UID, config.NotificationURL)
	registered()
	return <-served
}

// receiver is the handler that prints notifications.
func receiver(p *cli.Program, lines *printer, secret, previous string) (*appsandbooks.NotificationHandler, error) {
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
				p.Notef("the service's test arrived")
			}
		}))
}

// printer writes lines, one at a time.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

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
