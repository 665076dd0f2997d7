package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// The fault matrix tests every method that sends requests with every fault. A new method needs a
// line in [endpoints]; without one, [TestFaultMatrixIsComplete] fails.

// methodKind states what a method does when the answer to its request is lost.
type methodKind int

const (
	reads              methodKind = iota // the method retries
	readsList                            // the method retries; an answer without a page is not an empty list
	repeats                              // the method retries, because the request has the same effect twice as once
	writes                               // the method does not send again, and returns ErrAmbiguous
	writesWithoutEvent                   // the method does the same as writes; the answer has no event
	polls                                // the method polls again after the interval
	writesAndReadsBack                   // the method does the same as writes, and then reads the assignments back
)

// An endpoint is a method of the SDK in the fault matrix, and the request of this method that
// gets the faults.
type endpoint struct {
	method string // the name of the method as a caller writes it: Service.Method
	path   string // path of the request
	kind   methodKind
	call   func(context.Context, *appsandbooks.Client, *appsandbookstest.Server) error
}

const (
	matrixUser  = "canary-user"
	matrixSeat  = 67890
	matrixAsset = "361309726"
)

var (
	matrixAssets = appsandbooks.AssetChange{
		Assets: []appsandbooks.AssetID{{AdamID: matrixAsset}}, ClientUserIDs: []string{matrixUser}, SerialNumbers: []string{"CANARY1"},
	}
	matrixSeats   = appsandbooks.SubscriptionChange{AdamIDs: []int64{matrixSeat}, ClientUserIDs: []string{matrixUser}}
	matrixCreate  = []appsandbooks.UserRequest{{ClientUserID: "canary-new-user"}}
	matrixUpdate  = []appsandbooks.UserRequest{{ClientUserID: matrixUser, Email: "canary@example.com"}}
	matrixTargets = appsandbooks.AssetChange{SerialNumbers: []string{"CANARY1"}}
	matrixConfig  = appsandbooks.Registration{MDMInfo: &appsandbooks.MDMInfo{ID: "i", Name: "n", Metadata: "m"}}
)

// These short type names are for the signatures in endpoints.
type (
	ctx    = context.Context
	client = *appsandbooks.Client
	server = *appsandbookstest.Server
)

// endpoints has at least one line for each method of the SDK that sends requests.
var endpoints = []endpoint{
	{"Client.Do", "users", reads, func(ctx ctx, c client, _ server) error {
		return c.Do(ctx, http.MethodGet, "users", nil, nil, new(struct {
			Users []appsandbooks.User `json:"users"`
		}))
	}},
	{"Client.Do", "users/create", writesWithoutEvent, func(ctx ctx, c client, _ server) error {
		in := map[string]any{"users": []map[string]string{{"clientUserId": "canary-new-user"}}}
		return c.Do(ctx, http.MethodPost, "users/create", nil, in, &struct{ appsandbooks.Meta }{})
	}},

	{"Config.ServiceConfig", "service/config", reads, func(ctx ctx, c client, _ server) error { return errorOf(c.Config.ServiceConfig(ctx)) }},
	{"Config.ClientConfig", "client/config", reads, func(ctx ctx, c client, _ server) error { return errorOf(c.Config.ClientConfig(ctx)) }},
	{"Config.UpdateClientConfig", "client/config", repeats, func(ctx ctx, c client, _ server) error {
		return errorOf(c.Config.UpdateClientConfig(ctx, matrixConfig))
	}},

	{"Users.List", "users", reads, func(ctx ctx, c client, _ server) error {
		return errorOf(c.Users.List(ctx, appsandbooks.UserFilter{ClientUserID: matrixUser}))
	}},
	{"Users.Pages", "users", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Users.Pages(ctx, appsandbooks.UserFilter{ClientUserID: matrixUser}))
	}},
	{"Users.All", "users", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Users.All(ctx, appsandbooks.UserFilter{ClientUserID: matrixUser}))
	}},
	{"Users.Changes", "users", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Users.Changes(ctx, appsandbooks.UserFilter{}))
	}},
	{"Users.Create", "users/create", writes, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Users.Create(ctx, appsandbooks.UserChange{Users: matrixCreate}))
	}},
	{"Users.Create", "service/config", reads, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Users.Create(ctx, appsandbooks.UserChange{Users: matrixCreate}))
	}},
	{"Users.Update", "users/update", writes, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Users.Update(ctx, appsandbooks.UserChange{Users: matrixUpdate}))
	}},
	{"Users.Retire", "users/retire", writes, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{matrixUser}}))
	}},
	{"Users.InvitationURL", "service/config", reads, func(ctx ctx, c client, _ server) error {
		return errorOf(c.Users.InvitationURL(ctx, "code"))
	}},

	{"Assets.List", "assets", reads, func(ctx ctx, c client, _ server) error {
		return errorOf(c.Assets.List(ctx, appsandbooks.AssetFilter{}))
	}},
	{"Assets.Pages", "assets", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Assets.Pages(ctx, appsandbooks.AssetFilter{}))
	}},
	{"Assets.All", "assets", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Assets.All(ctx, appsandbooks.AssetFilter{}))
	}},
	{"Assets.Associate", "assets/associate", writes, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Assets.Associate(ctx, matrixAssets))
	}},
	{"Assets.Associate", "service/config", reads, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Assets.Associate(ctx, matrixAssets))
	}},
	{"Assets.Disassociate", "assets/disassociate", writes, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Assets.Disassociate(ctx, matrixAssets))
	}},
	{"Assets.Revoke", "assets/revoke", writes, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Assets.Revoke(ctx, matrixTargets))
	}},

	{"Assignments.List", "assignments", reads, func(ctx ctx, c client, _ server) error {
		return errorOf(c.Assignments.List(ctx, appsandbooks.AssignmentFilter{}))
	}},
	{"Assignments.Pages", "assignments", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Assignments.Pages(ctx, appsandbooks.AssignmentFilter{}))
	}},
	{"Assignments.All", "assignments", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Assignments.All(ctx, appsandbooks.AssignmentFilter{}))
	}},

	{"Assignments.Changes", "assignments", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Assignments.Changes(ctx, appsandbooks.AssignmentFilter{}))
	}},

	{"Status.Get", "status", reads, func(ctx ctx, c client, srv server) error {
		return errorOf(c.Status.Get(ctx, srv.Unit().Events()[0].ID))
	}},
	{"Status.Wait", "status", polls, func(ctx ctx, c client, srv server) error {
		return errorOf(c.Status.Wait(ctx, srv.Unit().Events()[0].ID))
	}},

	{"Subscriptions.List", "subscriptions", reads, func(ctx ctx, c client, _ server) error {
		return errorOf(c.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{}))
	}},
	{"Subscriptions.Pages", "subscriptions", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Subscriptions.Pages(ctx, appsandbooks.SubscriptionFilter{}))
	}},
	{"Subscriptions.All", "subscriptions", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.Subscriptions.All(ctx, appsandbooks.SubscriptionFilter{}))
	}},
	{"SubscriptionAssignments.List", "subscriptions/assignments", reads, func(ctx ctx, c client, _ server) error {
		return errorOf(c.SubscriptionAssignments.List(ctx, appsandbooks.SubscriptionAssignmentFilter{}))
	}},
	{"SubscriptionAssignments.Pages", "subscriptions/assignments", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.SubscriptionAssignments.Pages(ctx, appsandbooks.SubscriptionAssignmentFilter{}))
	}},
	{"SubscriptionAssignments.All", "subscriptions/assignments", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.SubscriptionAssignments.All(ctx, appsandbooks.SubscriptionAssignmentFilter{}))
	}},
	{"Subscriptions.Associate", "subscriptions/associate", writes, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Subscriptions.Associate(ctx, matrixSeats))
	}},
	{"Subscriptions.Disassociate", "subscriptions/disassociate", writes, func(ctx ctx, c client, _ server) error {
		return errorOfSending(c.Subscriptions.Disassociate(ctx, matrixSeats))
	}},
	{"SubscriptionAdmins.List", "subscriptions/admins", reads, func(ctx ctx, c client, _ server) error {
		return errorOf(c.SubscriptionAdmins.List(ctx, appsandbooks.SubscriptionAdminFilter{}))
	}},
	{"SubscriptionAdmins.Pages", "subscriptions/admins", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.SubscriptionAdmins.Pages(ctx, appsandbooks.SubscriptionAdminFilter{}))
	}},
	{"SubscriptionAdmins.All", "subscriptions/admins", readsList, func(ctx ctx, c client, _ server) error {
		return drain(c.SubscriptionAdmins.All(ctx, appsandbooks.SubscriptionAdminFilter{}))
	}},
	{"SubscriptionAdmins.Add", "subscriptions/admins/add", writesWithoutEvent, func(ctx ctx, c client, _ server) error {
		return c.SubscriptionAdmins.Add(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{matrixSeat}, ClientUserIDs: []string{matrixUser}})
	}},
	{"SubscriptionAdmins.Remove", "subscriptions/admins/remove", writesWithoutEvent, func(ctx ctx, c client, _ server) error {
		return c.SubscriptionAdmins.Remove(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{matrixSeat}, ClientUserIDs: []string{matrixUser}})
	}},
	{"Subscriptions.Enable", "subscriptions/enable", repeats, func(ctx ctx, c client, _ server) error {
		return c.Subscriptions.Enable(ctx)
	}},
	{"Subscriptions.Disable", "subscriptions/disable", repeats, func(ctx ctx, c client, _ server) error {
		return c.Subscriptions.Disable(ctx)
	}},

	{"Operation.Submit", "assets/associate", writes, func(ctx ctx, c client, _ server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets, appsandbooks.WithPlanOnly())
		if err != nil {
			return err
		}
		return errorOfSending(op, op.Submit(ctx))
	}},
	{"Operation.Step", "status", polls, func(ctx ctx, c client, _ server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets)
		for err == nil {
			var next time.Time
			if next, err = op.Step(ctx); err != nil || next.IsZero() {
				break
			}
			select {
			case <-time.After(time.Until(next)):
			case <-ctx.Done():
				err = fmt.Errorf("%w: %w", ctx.Err(), context.Cause(ctx))
			}
		}
		if err != nil {
			return err
		}
		return firstProblem(op.Report())
	}},
	{"Operation.Wait", "status", polls, func(ctx ctx, c client, _ server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets)
		if err != nil {
			return err
		}
		return errorOf(op.Wait(ctx))
	}},
	{"Operation.Wait", "assets/associate", writesAndReadsBack, func(ctx ctx, c client, srv server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets, appsandbooks.WithPlanOnly())
		if err != nil {
			return err
		}
		return errorOf(op.Wait(ctx))
	}},
	{"Operation.Verify", "assignments", readsList, func(ctx ctx, c client, srv server) error {
		op, err := finishedAssociation(ctx, c)
		if err != nil {
			return err
		}
		return errorOf(op.Verify(ctx))
	}},
	{"Operation.Retry", "assets/associate", writes, func(ctx ctx, c client, _ server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets, appsandbooks.WithPlanOnly()) // no pair is done
		if err != nil {
			return err
		}
		return errorOfSending(op.Retry(ctx))
	}},
	{"Operation.Undo", "assets/disassociate", writes, func(ctx ctx, c client, _ server) error {
		op, err := finishedAssociation(ctx, c)
		if err != nil {
			return err
		}
		return errorOfSending(op.Undo(ctx))
	}},
}

// errorOfSending returns err, the error of a call that sent an operation. If err is nil, it
// returns the first problem in the operation's report.
func errorOfSending(op *appsandbooks.Operation, err error) error {
	if err != nil || op == nil {
		return err
	}
	return firstProblem(op.Report())
}

// firstProblem returns the first error of a report that is not ErrPending.
func firstProblem(r *appsandbooks.Report) error {
	for o := range r.Problems() {
		if !errors.Is(o.Err, appsandbooks.ErrPending) {
			return o.Err
		}
	}
	return nil
}

// finishedAssociation associates matrixAssets, and returns the operation when it has finished.
func finishedAssociation(ctx context.Context, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
	op, err := c.Assets.Associate(ctx, matrixAssets)
	if err != nil {
		return nil, err
	}
	_, err = op.Wait(ctx)
	return op, err
}

// newServerFor returns a stand-in whose default unit has data for the tested method.
func newServerFor(t *testing.T, e endpoint) *appsandbookstest.Server {
	t.Helper()
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithLatency(100*time.Millisecond), appsandbookstest.WithEventDelay(time.Second))
	require.NoError(t, err)
	u := srv.Unit()
	u.AddAsset(appsandbookstest.Asset{AdamID: matrixAsset, Total: 10})
	u.AddUser(appsandbookstest.User{ClientUserID: matrixUser, Status: appsandbookstest.UserAssociated})
	if e.method == "Subscriptions.Disable" {
		return srv // The service refuses Subscriptions.Disable if the unit has subscriptions.
	}
	u.AddSubscription(appsandbookstest.Subscription{AdamID: matrixSeat, ParentAdamID: 1, Total: appsandbookstest.Seats{Renewing: 5}})
	u.AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: matrixSeat, ClientUserID: matrixUser, Renewing: true})
	return srv
}

// withServerFor runs f in virtual time with a stand-in and a client of its default unit. The
// argument events of f is the number of events that the unit has already. No goroutine may be
// left at the end.
func withServerFor(t *testing.T, e endpoint, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, events int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := newServerFor(t, e)
		defer srv.Close()
		c := newClient(t, srv)
		defer c.Close()
		events := 0
		if e.path == "status" && !strings.HasPrefix(e.method, "Operation.") { // the method needs an event
			_, err := c.Assets.Associate(t.Context(), matrixAssets)
			require.NoError(t, err)
			events = 1
		}
		f(t, srv, c, events)
	})
}

// Every method with a context of Client, of its services and of Operation has a line in the fault
// matrix, because such a method sends requests.
func TestFaultMatrixIsComplete(t *testing.T) {
	known := map[string]bool{
		// Register, Unregister and Claim send the same requests as Config.ClientConfig and
		// Config.UpdateClientConfig.
		"Config.Register": true, "Config.Unregister": true, "Config.Claim": true,
	}
	for _, e := range endpoints {
		known[e.method] = true
	}
	var missing []string
	checkMethods := func(name string, typ reflect.Type) {
		for i := range typ.NumMethod() {
			m := typ.Method(i)
			if m.Type.NumIn() < 2 || m.Type.In(1) != reflect.TypeFor[context.Context]() {
				continue
			}
			if method := name + "." + m.Name; known[method] {
				delete(known, method)
			} else {
				missing = append(missing, method)
			}
		}
	}
	c := reflect.TypeFor[appsandbooks.Client]()
	checkMethods("Client", reflect.PointerTo(c))
	checkMethods("Operation", reflect.TypeFor[*appsandbooks.Operation]())
	for _, f := range reflect.VisibleFields(c) {
		if f.IsExported() {
			checkMethods(f.Name, f.Type)
		}
	}
	slices.Sort(missing)
	require.Empty(t, missing, "methods without a line in endpoints")
	require.Empty(t, known, "lines in endpoints without a method")
}
