package appsandbooks_test

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
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
	writesWithoutEvent                   // the method does not send again, and returns ErrAmbiguous; the answer has no event
	polls                                // the method polls again after the interval
	writesAndReadsBack                   // the method does not send again; it reads back, and returns ErrAmbiguous if the lists do not show the change
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
	{"Users.Create", "users/create", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Users.Create(ctx, appsandbooks.UserChange{Users: matrixCreate}))
	}},
	{"Users.Create", "service/config", reads, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Users.Create(ctx, appsandbooks.UserChange{Users: matrixCreate}))
	}},
	{"Users.Update", "users/update", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Users.Update(ctx, appsandbooks.UserChange{Users: matrixUpdate}))
	}},
	{"Users.Retire", "users/retire", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{matrixUser}}))
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
	{"Assets.Associate", "assets/associate", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Assets.Associate(ctx, matrixAssets))
	}},
	{"Assets.Associate", "service/config", reads, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Assets.Associate(ctx, matrixAssets))
	}},
	{"Assets.Disassociate", "assets/disassociate", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Assets.Disassociate(ctx, matrixAssets))
	}},
	{"Assets.Revoke", "assets/revoke", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Assets.Revoke(ctx, matrixTargets))
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
	{"Subscriptions.Associate", "subscriptions/associate", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Subscriptions.Associate(ctx, matrixSeats))
	}},
	{"Subscriptions.Disassociate", "subscriptions/disassociate", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		return errorOfWait(ctx)(c.Subscriptions.Disassociate(ctx, matrixSeats))
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

	{"Operation.Step", "status", polls, func(ctx ctx, c client, _ server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets)
		for err == nil {
			if err = op.Step(ctx); err != nil {
				break
			}
			next, more := op.Next()
			if !more {
				break
			}
			select {
			case <-time.After(time.Until(next)):
			case <-ctx.Done():
				err = fmt.Errorf("%w: %w", ctx.Err(), context.Cause(ctx))
			}
		}
		return err
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
	{"Operation.Retry", "assets/associate", writesAndReadsBack, func(ctx ctx, c client, srv server) error {
		saved, _ := failedAssociations.Load(srv)
		op, err := c.Resume(saved.([]byte))
		if err != nil {
			return err
		}
		return errorOfWait(ctx)(op.Retry(ctx))
	}},
	{"Operation.Undo", "assets/disassociate", writesAndReadsBack, func(ctx ctx, c client, _ server) error {
		op, err := finishedAssociation(ctx, c)
		if err != nil {
			return err
		}
		return errorOfWait(ctx)(op.Undo(ctx))
	}},
}

// errorOfWait returns a function that waits for an operation and returns the error of Wait. It
// takes the results of a call that starts an operation.
func errorOfWait(ctx context.Context) func(*appsandbooks.Operation, error) error {
	return func(op *appsandbooks.Operation, err error) error {
		if err != nil {
			return err
		}
		return errorOf(op.Wait(ctx))
	}
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

// failedAssociations has saved operations in which every pair of matrixAssets has failed, by
// stand-in. They failed before the faults of the matrix.
var failedAssociations sync.Map

// failAssociation makes the operation of a stand-in in failedAssociations.
func failAssociation(t *testing.T, srv *appsandbookstest.Server) {
	t.Helper()
	c := newClient(t, srv)
	defer c.Close()
	srv.Unit().FailNextEvent(9603)
	op, err := c.Assets.Associate(t.Context(), matrixAssets)
	require.NoError(t, err)
	report, err := op.Wait(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrInternal)
	require.Equal(t, 2, report.Failed)
	saved, err := op.Save()
	require.NoError(t, err)
	failedAssociations.Store(srv, saved)
	t.Cleanup(func() { failedAssociations.Delete(srv) })
	srv.ResetRequests()
}

// newServerFor returns a stand-in whose default unit has data for the tested method.
func newServerFor(t *testing.T, e endpoint) *appsandbookstest.Server {
	t.Helper()
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithLatency(100*time.Millisecond), appsandbookstest.WithEventDelay(time.Second))
	require.NoError(t, err)
	u := srv.Unit()
	u.AddAsset(appsandbookstest.Asset{AdamID: matrixAsset, Total: 10})
	u.AddUser(appsandbookstest.User{ClientUserID: matrixUser, Status: appsandbookstest.UserAssociated})
	switch e.method { // The change must be one that the lists show.
	case "Assets.Disassociate", "Assets.Revoke":
		u.AddAssignments(
			appsandbookstest.Assignment{AdamID: matrixAsset, ClientUserID: matrixUser},
			appsandbookstest.Assignment{AdamID: matrixAsset, SerialNumber: "CANARY1"})
	}
	if e.method == "Subscriptions.Disable" {
		return srv // The service refuses Subscriptions.Disable if the unit has subscriptions.
	}
	u.AddSubscription(appsandbookstest.Subscription{AdamID: matrixSeat, ParentAdamID: 1, Total: appsandbookstest.Seats{Renewing: 5}})
	if e.method != "Subscriptions.Associate" {
		u.AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: matrixSeat, ClientUserID: matrixUser, Renewing: true})
	}
	if e.method == "Operation.Retry" {
		failAssociation(t, srv)
	}
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
		if e.path == "status" && !strings.HasPrefix(e.method, "Operation.") { // the method needs an event
			_, err := c.Assets.Associate(t.Context(), matrixAssets)
			require.NoError(t, err)
		}
		f(t, srv, c, len(srv.Unit().Events()))
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
