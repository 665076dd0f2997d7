// Walkthrough carries out Apple's "Setting up and assigning content with your
// MDM", step by step, and checks each answer.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

const help = `
Usage: walkthrough [flags]

Carries out each step of Apple's "Setting up and assigning content with your
MDM": it reads the service configuration, registers itself with a notification
receiver of its own, creates a user, reads the inventory, and assigns an app and
a subscription, waiting each time until it is true. It prints a line a step, and
exits 0 only if every check held.

Without a content token it starts a stand-in for Apple's service by itself.

With one (-token-file or APPSANDBOOKS_STOKEN) it uses the real service, or the
one at -url. MIND: it registers itself as the organizational unit's management
service (-mdm-id), creates a user and assigns licences. The app and the
subscription must have been purchased. -listen and -notification-url say where
notifications are received (TLS is for a proxy in front); without them it polls.
`

func main() { cli.Main("walkthrough", help, run) }

// walk is what the steps share.
type walk struct {
	*cli.Program
	client  *appsandbooks.Client
	standIn *appsandbookstest.Server // nil with a service of somebody else
	arrived chan *appsandbooks.Notification
	seen    []*appsandbooks.Notification
	patient time.Duration

	user, account  string
	app            appsandbooks.AssetID
	parent, adamID int64
	mdm            appsandbooks.MDMInfo
	secret         string
}

func run(ctx context.Context, p *cli.Program) error {
	w := &walk{Program: p, arrived: make(chan *appsandbooks.Notification, 1000), secret: rand.Text()}
	p.ReceiverFlags()
	f := p.Flags
	f.StringVar(&w.user, "user", "user-1", "clientUserId of the `user` to create")
	f.StringVar(&w.account, "managed-apple-id", "jappleseed@appleschool.example.com", "Managed Apple `Account` of the user")
	f.StringVar(&w.app.AdamID, "app", "361309726", "Adam `ID` of the app")
	pricing := f.String("pricing", "STDQ", "`quality` of the app, STDQ or PLUS")
	f.Int64Var(&w.parent, "parent", 361309726, "Adam `ID` of the subscription's app")
	f.Int64Var(&w.adamID, "subscription", 67890, "Adam `ID` of the subscription")
	f.StringVar(&w.mdm.ID, "mdm-id", "522d5c43-44ca-4f7e-ba7a-53570cf60765", "`id` to register as")
	f.StringVar(&w.mdm.Name, "mdm-name", "My MDM Server", "`name` to register as")
	f.DurationVar(&w.patient, "patience", time.Minute, "longest `time` to wait for a notification")
	if err := p.Parse(); err != nil {
		return err
	}
	w.app.PricingParam, w.mdm.Metadata = appsandbooks.PricingParam(*pricing), "1.0.0"

	var err error
	w.client, err = p.Client(func() (*appsandbookstest.Server, error) {
		srv, err := appsandbookstest.NewServer()
		if err != nil {
			return nil, err
		}
		w.standIn = srv
		return w.standIn, nil
	})
	if err != nil {
		return err
	}
	began := time.Now()
	steps := w.steps()
	for i, s := range steps {
		if s.skip {
			fmt.Fprintf(p.Stdout, "%2d  %-24s skipped: %s\n", i+1, s.title, s.why)
			continue
		}
		began := time.Now()
		said, err := s.do(ctx)
		if err != nil {
			fmt.Fprintf(p.Stdout, "%2d  %-24s FAILED: %s\n", i+1, s.title, s.asked)
			return fmt.Errorf("step %d, %s: %w", i+1, s.title, err)
		}
		fmt.Fprintf(p.Stdout, "%2d  %-24s %s -> %s (%s)\n", i+1, s.title, s.asked, said, round(time.Since(began)))
	}
	fmt.Fprintf(p.Stdout, "all %d steps hold (%s)\n", len(steps), round(time.Since(began)))
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// step is one step of Apple's page.
type step struct {
	title, asked string
	do           func(context.Context) (string, error)
	skip         bool
	why          string
}

func (w *walk) steps() []step {
	receiving := w.standIn != nil || w.Listen != "" || w.NotificationURL != ""
	notification := func(s step) step {
		s.skip, s.why = !receiving, "no receiver (-listen, -notification-url)"
		return s
	}
	onStandIn := func(s step) step {
		s.skip, s.why = w.standIn == nil, "purchases are made in Apple's portal; they should be there"
		return s
	}
	var create, assign, assignSeat *appsandbooks.Operation
	expected := appsandbooks.NotificationSuccess // of creating the user
	return []step{
		{title: "service configuration", asked: "GET service/config", do: w.serviceConfig},
		{title: "client configuration", asked: "POST client/config", do: func(ctx context.Context) (string, error) {
			return w.clientConfig(ctx, receiving)
		}},
		{title: "create the user", asked: "POST users/create " + w.user, do: func(ctx context.Context) (said string, err error) {
			create, said, err = began(w.client.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{
				{ClientUserID: w.user, ManagedAppleID: w.account},
			}}))
			return said, err
		}},
		{title: "wait for it", asked: "GET status", do: func(ctx context.Context) (string, error) {
			report, err := create.Wait(ctx)
			if errors.Is(err, appsandbooks.ErrUserAlreadyExists) {
				expected = appsandbooks.NotificationFailure
				return "the user was there already", nil
			}
			return complete(report, err)
		}},
		notification(step{title: "hear of it", asked: "USER_MANAGEMENT", do: func(ctx context.Context) (string, error) {
			return w.hear(ctx, func(n *appsandbooks.Notification) (string, bool) {
				m := n.UserManagement
				if m == nil || m.EventID != create.EventIDs()[0] || len(m.Users) == 0 || m.Result != expected {
					return "", false
				}
				return fmt.Sprintf("%s %s: %s is %s", m.Type, m.Result, m.Users[0].ClientUserID, m.Users[0].Status), true
			})
		}}),
		{title: "read the user", asked: "GET users?clientUserId=" + w.user, do: w.readUser},
		onStandIn(step{title: "purchase content", asked: "25 licences, 25 seats", do: func(context.Context) (string, error) {
			unit := w.standIn.Unit()
			unit.Purchase(w.app.AdamID, string(w.app.PricingParam), 25)
			unit.AddSubscription(appsandbookstest.Subscription{AdamID: w.adamID, ParentAdamID: w.parent})
			unit.PurchaseSubscription(w.adamID, 25, 0)
			return "bought", nil
		}}),
		onStandIn(step{title: "hear of the app", asked: "ASSET_COUNT", do: func(ctx context.Context) (string, error) {
			return w.hear(ctx, func(n *appsandbooks.Notification) (string, bool) {
				c := n.AssetCount
				if c == nil || c.AdamID != w.app.AdamID || c.CountDelta != 25 {
					return "", false
				}
				return fmt.Sprintf("%s %s %+d", c.AdamID, c.PricingParam, c.CountDelta), true
			})
		}}),
		onStandIn(step{title: "hear of the subscription", asked: "SUBSCRIPTION_COUNT", do: func(ctx context.Context) (string, error) {
			return w.hear(ctx, func(n *appsandbooks.Notification) (string, bool) {
				c := n.SubscriptionCount
				if c == nil || c.AdamID != w.adamID || c.Counts.Total == nil || c.Counts.Available == nil {
					return "", false
				}
				return fmt.Sprintf("%d: %d of %d renewing seats available", c.AdamID, c.Counts.Available.Renewing, c.Counts.Total.Renewing), true
			})
		}}),
		{title: "read the app's licences", asked: "GET assets?adamId=" + w.app.AdamID, do: w.readAsset},
		{title: "read the seats", asked: fmt.Sprintf("GET subscriptions?parentAdamId=%d", w.parent), do: w.readSubscription},
		{title: "assign the app", asked: "POST assets/associate", do: func(ctx context.Context) (said string, err error) {
			assign, said, err = began(w.client.Assets.Associate(ctx, appsandbooks.AssetChange{
				Assets: []appsandbooks.AssetID{w.app}, ClientUserIDs: []string{w.user},
			}))
			return said, err
		}},
		{title: "wait for it", asked: "GET status", do: func(ctx context.Context) (string, error) { return complete(assign.Wait(ctx)) }},
		notification(step{title: "hear of it", asked: "ASSET_MANAGEMENT", do: func(ctx context.Context) (string, error) {
			return w.hear(ctx, func(n *appsandbooks.Notification) (string, bool) {
				m := n.AssetManagement
				if m == nil || m.EventID != assign.EventIDs()[0] || len(m.Assignments) == 0 || m.Result != appsandbooks.NotificationSuccess {
					return "", false
				}
				return fmt.Sprintf("%s %s: %s for %s", m.Type, m.Result, m.Assignments[0].AdamID, m.Assignments[0].ClientUserID), true
			})
		}}),
		{title: "read the assignment", asked: "GET assignments", do: w.readAssignment},
		{title: "assign the subscription", asked: "POST subscriptions/associate", do: func(ctx context.Context) (said string, err error) {
			assignSeat, said, err = began(w.client.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{
				AdamIDs: []int64{w.adamID}, ClientUserIDs: []string{w.user},
			}))
			return said, err
		}},
		{title: "wait for it", asked: "GET status", do: func(ctx context.Context) (string, error) { return complete(assignSeat.Wait(ctx)) }},
		{title: "read the seat", asked: "GET subscriptions/assignments", do: w.readSeat},
	}
}

// began says which event a change became.
func began(op *appsandbooks.Operation, err error) (*appsandbooks.Operation, string, error) {
	if err != nil {
		return op, "", err
	}
	if len(op.EventIDs()) != 1 {
		return op, "", fmt.Errorf("one event expected, not %d", len(op.EventIDs()))
	}
	return op, "event " + op.EventIDs()[0], nil
}

// complete checks that the one pair of a change succeeded.
func complete(report *appsandbooks.Report, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if report.Total != 1 || report.Succeeded != 1 {
		return "", fmt.Errorf("one success expected: %v", report)
	}
	return "COMPLETE, 1 of 1", nil
}

func (w *walk) serviceConfig(ctx context.Context) (string, error) {
	c, err := w.client.Config.ServiceConfig(ctx)
	if err != nil {
		return "", err
	}
	l := c.Limits
	if l.MaxAssets < 1 || l.MaxClientUserIDs < 1 || l.MaxSerialNumbers < 1 {
		return "", fmt.Errorf("the limits make no sense: %+v", l)
	}
	said := fmt.Sprintf("%d assets x (%d users + %d devices) a request", l.MaxAssets, l.MaxClientUserIDs, l.MaxSerialNumbers)
	if l.MaxRequestPerSecond > 0 {
		said += fmt.Sprintf(", %d requests a second", l.MaxRequestPerSecond)
	}
	return said, nil
}

func (w *walk) clientConfig(ctx context.Context, receiving bool) (string, error) {
	update := appsandbooks.Registration{MDMInfo: &w.mdm}
	if receiving {
		where, err := w.receive()
		if err != nil {
			return "", err
		}
		update.NotificationURL, update.NotificationAuthToken = where, appsandbooks.NewSecret(w.secret)
		update.NotificationTypes = []appsandbooks.NotificationType{
			appsandbooks.NotificationAssetManagement, appsandbooks.NotificationUserManagement,
			appsandbooks.NotificationUserAssociated, appsandbooks.NotificationAssetCount,
			appsandbooks.NotificationSubscriptionManagement, appsandbooks.NotificationSubscriptionCount,
		}
	}
	c, err := w.client.Config.UpdateClientConfig(ctx, update)
	if err != nil {
		return "", err
	}
	switch {
	case c.MDMInfo == nil || *c.MDMInfo != w.mdm:
		return "", fmt.Errorf("registered as %+v, not as %+v", c.MDMInfo, w.mdm)
	case receiving && c.NotificationURL != update.NotificationURL:
		return "", fmt.Errorf("the service has the notification URL %q, not %q", c.NotificationURL, update.NotificationURL)
	case receiving && len(c.SubscribedNotificationTypes) != len(update.NotificationTypes):
		return "", fmt.Errorf("subscribed to %v, not to %v", c.SubscribedNotificationTypes, update.NotificationTypes)
	}
	said := fmt.Sprintf("%q manages %s", c.MDMInfo.Name, c.UID)
	if receiving {
		said += fmt.Sprintf(", test notification received, %d types subscribed", len(c.SubscribedNotificationTypes))
	}
	return said, nil
}

// receive starts the notification receiver and says where it is reached.
func (w *walk) receive() (string, error) {
	where, listen := w.NotificationURL, w.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
		if u, err := url.Parse(where); err == nil && where != "" {
			listen = ":" + u.Port()
			if u.Port() == "" {
				return "", cli.Usagef("-notification-url needs -listen, to know where to receive what arrives there")
			}
		}
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	if where == "" {
		where = "http://" + listener.Addr().String() + "/notifications"
	}
	handler, err := appsandbooks.NewNotificationHandler(
		func(_ context.Context, n *appsandbooks.Notification) error {
			w.arrived <- n
			return nil
		},
		appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret(w.secret)),
		appsandbooks.WithNotify(w.client.Notify))
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	w.OnExit(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	return where, nil
}

// hear waits for a notification that pick recognizes, and says what it says.
func (w *walk) hear(ctx context.Context, pick func(*appsandbooks.Notification) (string, bool)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.patient)
	defer cancel()
	for _, n := range w.seen {
		if said, ok := pick(n); ok {
			return said, nil
		}
	}
	for {
		select {
		case n := <-w.arrived:
			w.seen = append(w.seen, n)
			if said, ok := pick(n); ok {
				return said, nil
			}
		case <-ctx.Done():
			var types []string
			for _, n := range w.seen {
				types = append(types, string(n.Type))
			}
			return "", fmt.Errorf("no such notification came; those that did: %s: %w", strings.Join(types, ", "), context.Cause(ctx))
		}
	}
}

func (w *walk) readUser(ctx context.Context) (string, error) {
	page, err := w.client.Users.List(ctx, appsandbooks.UserFilter{ClientUserID: w.user})
	if err != nil {
		return "", err
	}
	for _, u := range page.Items {
		if u.ClientUserID == w.user && u.Status == appsandbooks.UserAssociated {
			return fmt.Sprintf("%s is %s", u.ClientUserID, u.Status), nil
		}
	}
	return "", fmt.Errorf("no associated user %s among %d", w.user, len(page.Items))
}

func (w *walk) readAsset(ctx context.Context) (string, error) {
	page, err := w.client.Assets.List(ctx, appsandbooks.AssetFilter{AdamID: w.app.AdamID})
	if err != nil {
		return "", err
	}
	for _, a := range page.Items {
		if a.AdamID == w.app.AdamID && a.PricingParam == w.app.PricingParam {
			if a.AvailableCount < 1 {
				return "", fmt.Errorf("no licence is available of %d", a.TotalCount)
			}
			return fmt.Sprintf("%d of %d available", a.AvailableCount, a.TotalCount), nil
		}
	}
	return "", fmt.Errorf("the organization does not own app %s", w.app.AdamID)
}

func (w *walk) readSubscription(ctx context.Context) (string, error) {
	page, err := w.client.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{ParentAdamIDs: []int64{w.parent}})
	if err != nil {
		return "", err
	}
	for _, s := range page.Items {
		if s.AdamID != w.adamID {
			continue
		}
		if s.Counts.Available == nil || s.Counts.Total == nil || s.Counts.Available.Renewing < 1 {
			return "", fmt.Errorf("no renewing seat is available: %+v", s.Counts)
		}
		return fmt.Sprintf("%d of %d renewing seats available", s.Counts.Available.Renewing, s.Counts.Total.Renewing), nil
	}
	return "", fmt.Errorf("the organization does not own subscription %d", w.adamID)
}

func (w *walk) readAssignment(ctx context.Context) (string, error) {
	page, err := w.client.Assignments.List(ctx, appsandbooks.AssignmentFilter{AdamID: w.app.AdamID, ClientUserID: w.user})
	if err != nil {
		return "", err
	}
	for _, a := range page.Items {
		if a.AdamID == w.app.AdamID && a.ClientUserID == w.user && a.PricingParam == w.app.PricingParam {
			return fmt.Sprintf("%s has %s", a.ClientUserID, a.AdamID), nil
		}
	}
	return "", fmt.Errorf("%s does not have app %s", w.user, w.app.AdamID)
}

func (w *walk) readSeat(ctx context.Context) (string, error) {
	page, err := w.client.SubscriptionAssignments.List(ctx, appsandbooks.SubscriptionAssignmentFilter{
		AdamIDs: []int64{w.adamID}, ClientUserIDs: []string{w.user},
	})
	if err != nil {
		return "", err
	}
	for _, a := range page.Items {
		if a.AdamID == w.adamID && a.ClientUserID == w.user && a.Renewing {
			return fmt.Sprintf("%s has %d, renewing", a.ClientUserID, a.AdamID), nil
		}
	}
	return "", fmt.Errorf("%s does not have subscription %d as a renewing seat", w.user, w.adamID)
}
