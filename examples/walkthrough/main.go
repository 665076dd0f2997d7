// Walkthrough performs the steps of Apple's guide "Setting up and assigning content
// with your MDM" and checks each answer.
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
Walkthrough performs the steps of Apple's guide "Setting up and assigning content
with your MDM". It reads the service configuration, registers itself with a
notification receiver, creates a user, reads the licenses and seats, and assigns an
app and a subscription to the user. After each change it waits until the change is
complete, and then reads the result. It prints a line for each step.

Usage:
  walkthrough [flags]

Without a content token it starts a stand-in for Apple's service.

With a content token (-token-file or APPSANDBOOKS_STOKEN) it uses Apple's service,
or the service at -url. The unit must own the app and the subscription. To receive
notifications, give -notification-url and -listen: a proxy must decrypt the
requests to the URL and forward them to the address. Without these flags it polls.

WARNING: with a content token it registers itself as the device management service
of the organizational unit (-mdm-id), creates a user and assigns licenses.

Exit codes:
  0  every check succeeded
  1  a check failed, or an error stopped the program
  2  invalid flags
`

func main() { cli.Main("walkthrough", help, run) }

// walkthrough contains the flags of the program and the state that its steps share.
type walkthrough struct {
	*cli.Program
	client   *appsandbooks.Client
	standIn  *appsandbookstest.Server // the program's own stand-in; nil if a content token is given
	arrived  chan *appsandbooks.Notification
	received []*appsandbooks.Notification // notifications that earlier steps took from arrived
	maxWait  time.Duration                // how long to wait for a notification

	user, account string
	app           appsandbooks.AssetID
	parent        int64 // Adam ID of the app of the subscription
	subscription  int64 // Adam ID
	mdm           appsandbooks.MDMInfo
	secret        string // of notifications
}

func run(ctx context.Context, p *cli.Program) error {
	w := &walkthrough{Program: p, arrived: make(chan *appsandbooks.Notification, 1000), secret: rand.Text()}
	p.ReceiverFlags()
	f := p.Flags
	f.StringVar(&w.user, "user", "user-1", "clientUserId of the `user` to create")
	f.StringVar(&w.account, "managed-apple-id", "jappleseed@appleschool.example.com", "Managed Apple `Account` of the user")
	f.StringVar(&w.app.AdamID, "app", "361309726", "Adam `ID` of the app")
	pricing := f.String("pricing", "STDQ", "`quality` of the app, STDQ or PLUS")
	f.Int64Var(&w.parent, "parent", 361309726, "Adam `ID` of the subscription's app")
	f.Int64Var(&w.subscription, "subscription", 67890, "Adam `ID` of the subscription")
	f.StringVar(&w.mdm.ID, "mdm-id", "522d5c43-44ca-4f7e-ba7a-53570cf60765", "`id` of the device management service to register")
	f.StringVar(&w.mdm.Name, "mdm-name", "My MDM Server", "`name` of the device management service to register")
	f.DurationVar(&w.maxWait, "patience", time.Minute, "maximum `time` to wait for a notification")
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
	started := time.Now()
	steps, skipped := w.steps(), 0
	for i, s := range steps {
		if s.skip != "" {
			skipped++
			fmt.Fprintf(p.Stdout, "%2d  %-28s skipped: %s\n", i+1, s.title, s.skip)
			continue
		}
		stepStarted := time.Now()
		result, err := s.run(ctx)
		if err != nil {
			fmt.Fprintf(p.Stdout, "%2d  %-28s FAILED: %s\n", i+1, s.title, s.action)
			return fmt.Errorf("step %d, %s: %w", i+1, s.title, err)
		}
		fmt.Fprintf(p.Stdout, "%2d  %-28s %s -> %s (%s)\n", i+1, s.title, s.action, result, round(time.Since(stepStarted)))
	}
	if skipped > 0 {
		fmt.Fprintf(p.Stdout, "%d of %d steps succeeded, %d skipped (%s)\n", len(steps)-skipped, len(steps), skipped, round(time.Since(started)))
		return nil
	}
	fmt.Fprintf(p.Stdout, "all %d steps succeeded (%s)\n", len(steps), round(time.Since(started)))
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// step is one step of Apple's guide.
type step struct {
	title  string
	action string // the request of the step, or the type of its notification
	run    func(context.Context) (result string, err error)
	skip   string // the reason why the step is skipped, or empty
}

func (w *walkthrough) steps() []step {
	receiving := w.standIn != nil || w.Listen != "" || w.NotificationURL != ""
	withReceiver := func(s step) step {
		if !receiving {
			s.skip = "no notification receiver (-listen, -notification-url)"
		}
		return s
	}
	withStandIn := func(s step) step {
		if w.standIn == nil {
			s.skip = "only with a stand-in; the unit must own the app and the subscription"
		}
		return s
	}
	var create, assign, assignSeat *appsandbooks.Operation
	expected := appsandbooks.NotificationSuccess // the result that the notification about the user must have
	return []step{
		{title: "service configuration", action: "GET service/config", run: w.serviceConfig},
		{title: "client configuration", action: "POST client/config", run: func(ctx context.Context) (string, error) {
			return w.clientConfig(ctx, receiving)
		}},
		{title: "create the user", action: "POST users/create " + w.user, run: func(ctx context.Context) (result string, err error) {
			if create, err = w.client.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{
				{ClientUserID: w.user, ManagedAppleID: w.account},
			}}); err != nil {
				return "", err
			}
			return eventOf(ctx, create)
		}},
		{title: "wait for the user", action: "GET status", run: func(ctx context.Context) (string, error) {
			report, err := create.Wait(ctx)
			if errors.Is(err, appsandbooks.ErrUserAlreadyExists) {
				expected = appsandbooks.NotificationFailure
				return "the user already exists", nil
			}
			return complete(report, err)
		}},
		withReceiver(step{title: "notification: user", action: "USER_MANAGEMENT", run: func(ctx context.Context) (string, error) {
			return w.waitForNotification(ctx, func(n *appsandbooks.Notification) (string, bool) {
				m := n.UserManagement
				if m == nil || m.EventID != create.EventIDs()[0] || len(m.Users) == 0 || m.Result != expected {
					return "", false
				}
				return fmt.Sprintf("%s %s: %s is %s", m.Type, m.Result, m.Users[0].ClientUserID, m.Users[0].Status), true
			})
		}}),
		{title: "read the user", action: "GET users?clientUserId=" + w.user, run: w.readUser},
		withStandIn(step{title: "buy content", action: "25 licenses, 25 seats", run: func(context.Context) (string, error) {
			unit := w.standIn.Unit()
			unit.Purchase(w.app.AdamID, string(w.app.PricingParam), 25)
			unit.AddSubscription(appsandbookstest.Subscription{AdamID: w.subscription, ParentAdamID: w.parent})
			unit.PurchaseSubscription(w.subscription, 25, 0)
			return "bought", nil
		}}),
		withStandIn(step{title: "notification: licenses", action: "ASSET_COUNT", run: func(ctx context.Context) (string, error) {
			return w.waitForNotification(ctx, func(n *appsandbooks.Notification) (string, bool) {
				c := n.AssetCount
				if c == nil || c.AdamID != w.app.AdamID || c.CountDelta != 25 {
					return "", false
				}
				return fmt.Sprintf("%s %s %+d", c.AdamID, c.PricingParam, c.CountDelta), true
			})
		}}),
		withStandIn(step{title: "notification: seats", action: "SUBSCRIPTION_COUNT", run: func(ctx context.Context) (string, error) {
			return w.waitForNotification(ctx, func(n *appsandbooks.Notification) (string, bool) {
				c := n.SubscriptionCount
				if c == nil || c.AdamID != w.subscription || c.Counts.Total == nil || c.Counts.Available == nil {
					return "", false
				}
				return fmt.Sprintf("%d: %d of %d renewing seats available", c.AdamID, c.Counts.Available.Renewing, c.Counts.Total.Renewing), true
			})
		}}),
		{title: "read the app's licenses", action: "GET assets?adamId=" + w.app.AdamID, run: w.readAsset},
		{title: "read the seats", action: fmt.Sprintf("GET subscriptions?parentAdamId=%d", w.parent), run: w.readSubscription},
		{title: "assign the app", action: "POST assets/associate", run: func(ctx context.Context) (result string, err error) {
			if assign, err = w.client.Assets.Associate(ctx, appsandbooks.AssetChange{
				Assets: []appsandbooks.AssetID{w.app}, ClientUserIDs: []string{w.user},
			}); err != nil {
				return "", err
			}
			return eventOf(ctx, assign)
		}},
		{title: "wait for the assignment", action: "GET status", run: func(ctx context.Context) (string, error) { return complete(assign.Wait(ctx)) }},
		withReceiver(step{title: "notification: assignment", action: "ASSET_MANAGEMENT", run: func(ctx context.Context) (string, error) {
			return w.waitForNotification(ctx, func(n *appsandbooks.Notification) (string, bool) {
				m := n.AssetManagement
				if m == nil || m.EventID != assign.EventIDs()[0] || len(m.Assignments) == 0 || m.Result != appsandbooks.NotificationSuccess {
					return "", false
				}
				return fmt.Sprintf("%s %s: %s for %s", m.Type, m.Result, m.Assignments[0].AdamID, m.Assignments[0].ClientUserID), true
			})
		}}),
		{title: "read the assignment", action: "GET assignments", run: w.readAssignment},
		{title: "assign the subscription", action: "POST subscriptions/associate", run: func(ctx context.Context) (result string, err error) {
			if assignSeat, err = w.client.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{
				AdamIDs: []int64{w.subscription}, ClientUserIDs: []string{w.user},
			}); err != nil {
				return "", err
			}
			return eventOf(ctx, assignSeat)
		}},
		{title: "wait for the seat", action: "GET status", run: func(ctx context.Context) (string, error) { return complete(assignSeat.Wait(ctx)) }},
		{title: "read the seat", action: "GET subscriptions/assignments", run: w.readSeat},
	}
}

// eventOf returns the id of the only event of an operation as the result of a step of the
// guide.
func eventOf(ctx context.Context, op *appsandbooks.Operation) (string, error) {
	if events := op.EventIDs(); len(events) == 1 {
		return "event " + events[0], nil
	}
	if _, err := op.Wait(ctx); err != nil {
		return "", err // why the service did not accept the request
	}
	return "", fmt.Errorf("the operation must have one event, but has %d", len(op.EventIDs()))
}

// complete checks that the report of an operation has one pair, which succeeded.
func complete(report *appsandbooks.Report, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if report.Total != 1 || report.Succeeded != 1 {
		return "", fmt.Errorf("one pair must succeed: %v", report)
	}
	return "COMPLETE, 1 of 1", nil
}

func (w *walkthrough) serviceConfig(ctx context.Context) (string, error) {
	c, err := w.client.Config.ServiceConfig(ctx)
	if err != nil {
		return "", err
	}
	l := c.Limits
	if l.MaxAssets < 1 || l.MaxClientUserIDs < 1 || l.MaxSerialNumbers < 1 {
		return "", fmt.Errorf("the limits must be positive: %+v", l)
	}
	result := fmt.Sprintf("a request can have %d assets, %d users and %d devices", l.MaxAssets, l.MaxClientUserIDs, l.MaxSerialNumbers)
	if l.MaxRequestPerSecond > 0 {
		result += fmt.Sprintf("; %d requests a second", l.MaxRequestPerSecond)
	}
	return result, nil
}

func (w *walkthrough) clientConfig(ctx context.Context, receiving bool) (string, error) {
	update := appsandbooks.Registration{MDMInfo: &w.mdm}
	if receiving {
		url, err := w.startReceiver()
		if err != nil {
			return "", err
		}
		update.NotificationURL, update.NotificationAuthToken = url, appsandbooks.NewSecret(w.secret)
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
		return "", fmt.Errorf("the service has the registration %+v, not %+v", c.MDMInfo, w.mdm)
	case receiving && c.NotificationURL != update.NotificationURL:
		return "", fmt.Errorf("the service has the notification URL %q, not %q", c.NotificationURL, update.NotificationURL)
	case receiving && len(c.SubscribedNotificationTypes) != len(update.NotificationTypes):
		return "", fmt.Errorf("subscribed to %v, not to %v", c.SubscribedNotificationTypes, update.NotificationTypes)
	}
	result := fmt.Sprintf("%q manages unit %s", c.MDMInfo.Name, c.UID)
	if receiving {
		result += fmt.Sprintf("; test notification received; subscribed to %d types", len(c.SubscribedNotificationTypes))
	}
	return result, nil
}

// startReceiver starts the notification receiver and returns the notification URL.
func (w *walkthrough) startReceiver() (string, error) {
	notificationURL, listen := w.NotificationURL, w.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
		if u, err := url.Parse(notificationURL); err == nil && notificationURL != "" {
			listen = ":" + u.Port()
			if u.Port() == "" {
				return "", cli.Usagef("-listen is missing: -notification-url has no port to listen on")
			}
		}
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	if notificationURL == "" {
		notificationURL = "http://" + listener.Addr().String() + "/notifications"
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
	return notificationURL, nil
}

// waitForNotification waits for a notification that match accepts, and returns the
// description that match returns. The notification can have arrived before the call.
func (w *walkthrough) waitForNotification(ctx context.Context, match func(*appsandbooks.Notification) (string, bool)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.maxWait)
	defer cancel()
	for _, n := range w.received {
		if description, ok := match(n); ok {
			return description, nil
		}
	}
	for {
		select {
		case n := <-w.arrived:
			w.received = append(w.received, n)
			if description, ok := match(n); ok {
				return description, nil
			}
		case <-ctx.Done():
			var types []string
			for _, n := range w.received {
				types = append(types, string(n.Type))
			}
			return "", fmt.Errorf("the notification did not arrive; received types: %s: %w", strings.Join(types, ", "), context.Cause(ctx))
		}
	}
}

func (w *walkthrough) readUser(ctx context.Context) (string, error) {
	page, err := w.client.Users.List(ctx, appsandbooks.UserFilter{ClientUserID: w.user})
	if err != nil {
		return "", err
	}
	for _, u := range page.Items {
		if u.ClientUserID == w.user && u.Status == appsandbooks.UserAssociated {
			return fmt.Sprintf("%s is %s", u.ClientUserID, u.Status), nil
		}
	}
	return "", fmt.Errorf("the service does not list the user %s as associated", w.user)
}

func (w *walkthrough) readAsset(ctx context.Context) (string, error) {
	page, err := w.client.Assets.List(ctx, appsandbooks.AssetFilter{AdamID: w.app.AdamID})
	if err != nil {
		return "", err
	}
	for _, a := range page.Items {
		if a.AdamID == w.app.AdamID && a.PricingParam == w.app.PricingParam {
			if a.AvailableCount < 1 {
				return "", fmt.Errorf("none of the %d licenses is available", a.TotalCount)
			}
			return fmt.Sprintf("%d of %d available", a.AvailableCount, a.TotalCount), nil
		}
	}
	return "", fmt.Errorf("the organization does not own app %s", w.app.AdamID)
}

func (w *walkthrough) readSubscription(ctx context.Context) (string, error) {
	page, err := w.client.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{ParentAdamIDs: []int64{w.parent}})
	if err != nil {
		return "", err
	}
	for _, s := range page.Items {
		if s.AdamID != w.subscription {
			continue
		}
		if s.Counts.Available == nil || s.Counts.Total == nil || s.Counts.Available.Renewing < 1 {
			return "", fmt.Errorf("no renewing seat is available: %+v", s.Counts)
		}
		return fmt.Sprintf("%d of %d renewing seats available", s.Counts.Available.Renewing, s.Counts.Total.Renewing), nil
	}
	return "", fmt.Errorf("the organization does not own subscription %d", w.subscription)
}

func (w *walkthrough) readAssignment(ctx context.Context) (string, error) {
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

func (w *walkthrough) readSeat(ctx context.Context) (string, error) {
	page, err := w.client.SubscriptionAssignments.List(ctx, appsandbooks.SubscriptionAssignmentFilter{
		AdamIDs: []int64{w.subscription}, ClientUserIDs: []string{w.user},
	})
	if err != nil {
		return "", err
	}
	for _, a := range page.Items {
		if a.AdamID == w.subscription && a.ClientUserID == w.user && a.Renewing {
			return fmt.Sprintf("%s has %d, renewing", a.ClientUserID, a.AdamID), nil
		}
	}
	return "", fmt.Errorf("%s does not have subscription %d as a renewing seat", w.user, w.subscription)
}
