package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Every method that makes requests meets every fault. A new method joins by a
// line in [endpoints]; [TestFaultMatrixIsComplete] fails until it has one.

// repetition is what a method may do when an answer is lost on its way.
type repetition int

const (
	reads      repetition = iota // asks again
	walks                        // as reads; an answer without a page is no empty list
	repeats                      // sends again: twice is the same as once
	writes                       // never sends again, and says that the fate is unknown
	writesOnce                   // as writes, without an event in the answer
	polls                        // asks again at the next interval, not sooner
	settles                      // as writes, and then reads back what became of it
)

// endpoint is a method and the one request of it that the faults hit.
type endpoint struct {
	method string // Service.Method, as a caller spells it
	path   string // of the request
	kind   repetition
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

type (
	ctx    = context.Context
	client = *appsandbooks.Client
	server = *appsandbookstest.Server
)

var endpoints = []endpoint{
	{"Client.Do", "users", reads, func(ctx ctx, c client, _ server) error {
		return c.Do(ctx, http.MethodGet, "users", nil, nil, new(struct {
			Users []appsandbooks.User `json:"users"`
		}))
	}},
	{"Client.Do", "users/create", writesOnce, func(ctx ctx, c client, _ server) error {
		in := map[string]any{"users": []map[string]string{{"clientUserId": "canary-new-user"}}}
		return c.Do(ctx, http.MethodPost, "users/create", nil, in, &struct{ appsandbooks.Meta }{})
	}},

	{"Config.ServiceConfig", "service/config", reads, func(ctx ctx, c client, _ server) error { return second(c.Config.ServiceConfig(ctx)) }},
	{"Config.ClientConfig", "client/config", reads, func(ctx ctx, c client, _ server) error { return second(c.Config.ClientConfig(ctx)) }},
	{"Config.UpdateClientConfig", "client/config", repeats, func(ctx ctx, c client, _ server) error {
		return second(c.Config.UpdateClientConfig(ctx, matrixConfig))
	}},

	{"Users.List", "users", reads, func(ctx ctx, c client, _ server) error {
		return second(c.Users.List(ctx, appsandbooks.UserFilter{ClientUserID: matrixUser}))
	}},
	{"Users.Pages", "users", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Users.Pages(ctx, appsandbooks.UserFilter{ClientUserID: matrixUser}))
	}},
	{"Users.All", "users", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Users.All(ctx, appsandbooks.UserFilter{ClientUserID: matrixUser}))
	}},
	{"Users.Changes", "users", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Users.Changes(ctx, appsandbooks.UserFilter{}))
	}},
	{"Users.Create", "users/create", writes, func(ctx ctx, c client, _ server) error {
		return sent(c.Users.Create(ctx, appsandbooks.UserChange{Users: matrixCreate}))
	}},
	{"Users.Create", "service/config", reads, func(ctx ctx, c client, _ server) error {
		return sent(c.Users.Create(ctx, appsandbooks.UserChange{Users: matrixCreate}))
	}},
	{"Users.Update", "users/update", writes, func(ctx ctx, c client, _ server) error {
		return sent(c.Users.Update(ctx, appsandbooks.UserChange{Users: matrixUpdate}))
	}},
	{"Users.Retire", "users/retire", writes, func(ctx ctx, c client, _ server) error {
		return sent(c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{matrixUser}}))
	}},
	{"Users.InvitationURL", "service/config", reads, func(ctx ctx, c client, _ server) error {
		return second(c.Users.InvitationURL(ctx, "code"))
	}},

	{"Assets.List", "assets", reads, func(ctx ctx, c client, _ server) error {
		return second(c.Assets.List(ctx, appsandbooks.AssetFilter{}))
	}},
	{"Assets.Pages", "assets", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Assets.Pages(ctx, appsandbooks.AssetFilter{}))
	}},
	{"Assets.All", "assets", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Assets.All(ctx, appsandbooks.AssetFilter{}))
	}},
	{"Assets.Associate", "assets/associate", writes, func(ctx ctx, c client, _ server) error {
		return sent(c.Assets.Associate(ctx, matrixAssets))
	}},
	{"Assets.Associate", "service/config", reads, func(ctx ctx, c client, _ server) error {
		return sent(c.Assets.Associate(ctx, matrixAssets))
	}},
	{"Assets.Disassociate", "assets/disassociate", writes, func(ctx ctx, c client, _ server) error {
		return sent(c.Assets.Disassociate(ctx, matrixAssets))
	}},
	{"Assets.Revoke", "assets/revoke", writes, func(ctx ctx, c client, _ server) error {
		return sent(c.Assets.Revoke(ctx, matrixTargets))
	}},

	{"Assignments.List", "assignments", reads, func(ctx ctx, c client, _ server) error {
		return second(c.Assignments.List(ctx, appsandbooks.AssignmentFilter{}))
	}},
	{"Assignments.Pages", "assignments", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Assignments.Pages(ctx, appsandbooks.AssignmentFilter{}))
	}},
	{"Assignments.All", "assignments", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Assignments.All(ctx, appsandbooks.AssignmentFilter{}))
	}},

	{"Assignments.Changes", "assignments", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Assignments.Changes(ctx, appsandbooks.AssignmentFilter{}))
	}},

	{"Status.Get", "status", reads, func(ctx ctx, c client, srv server) error {
		return second(c.Status.Get(ctx, srv.Unit().Events()[0].ID))
	}},
	{"Status.Wait", "status", polls, func(ctx ctx, c client, srv server) error {
		return second(c.Status.Wait(ctx, srv.Unit().Events()[0].ID))
	}},

	{"Subscriptions.List", "subscriptions", reads, func(ctx ctx, c client, _ server) error {
		return second(c.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{}))
	}},
	{"Subscriptions.Pages", "subscriptions", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Subscriptions.Pages(ctx, appsandbooks.SubscriptionFilter{}))
	}},
	{"Subscriptions.All", "subscriptions", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.Subscriptions.All(ctx, appsandbooks.SubscriptionFilter{}))
	}},
	{"SubscriptionAssignments.List", "subscriptions/assignments", reads, func(ctx ctx, c client, _ server) error {
		return second(c.SubscriptionAssignments.List(ctx, appsandbooks.SubscriptionAssignmentFilter{}))
	}},
	{"SubscriptionAssignments.Pages", "subscriptions/assignments", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.SubscriptionAssignments.Pages(ctx, appsandbooks.SubscriptionAssignmentFilter{}))
	}},
	{"SubscriptionAssignments.All", "subscriptions/assignments", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.SubscriptionAssignments.All(ctx, appsandbooks.SubscriptionAssignmentFilter{}))
	}},
	{"Subscriptions.Associate", "subscriptions/associate", writes, func(ctx ctx, c client, _ server) error {
		return sent(c.Subscriptions.Associate(ctx, matrixSeats))
	}},
	{"Subscriptions.Disassociate", "subscriptions/disassociate", writes, func(ctx ctx, c client, _ server) error {
		return sent(c.Subscriptions.Disassociate(ctx, matrixSeats))
	}},
	{"SubscriptionAdmins.List", "subscriptions/admins", reads, func(ctx ctx, c client, _ server) error {
		return second(c.SubscriptionAdmins.List(ctx, appsandbooks.SubscriptionAdminFilter{}))
	}},
	{"SubscriptionAdmins.Pages", "subscriptions/admins", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.SubscriptionAdmins.Pages(ctx, appsandbooks.SubscriptionAdminFilter{}))
	}},
	{"SubscriptionAdmins.All", "subscriptions/admins", walks, func(ctx ctx, c client, _ server) error {
		return drain(c.SubscriptionAdmins.All(ctx, appsandbooks.SubscriptionAdminFilter{}))
	}},
	{"SubscriptionAdmins.Add", "subscriptions/admins/add", writesOnce, func(ctx ctx, c client, _ server) error {
		return c.SubscriptionAdmins.Add(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{matrixSeat}, ClientUserIDs: []string{matrixUser}})
	}},
	{"SubscriptionAdmins.Remove", "subscriptions/admins/remove", writesOnce, func(ctx ctx, c client, _ server) error {
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
		return sent(op, op.Submit(ctx))
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
		return unsettled(op.Report())
	}},
	{"Operation.Wait", "status", polls, func(ctx ctx, c client, _ server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets)
		if err != nil {
			return err
		}
		return second(op.Wait(ctx))
	}},
	{"Operation.Wait", "assets/associate", settles, func(ctx ctx, c client, srv server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets, appsandbooks.WithPlanOnly())
		if err != nil {
			return err
		}
		return second(op.Wait(ctx))
	}},
	{"Operation.Verify", "assignments", walks, func(ctx ctx, c client, srv server) error {
		op, err := associated(ctx, c)
		if err != nil {
			return err
		}
		return second(op.Verify(ctx))
	}},
	{"Operation.Retry", "assets/associate", writes, func(ctx ctx, c client, _ server) error {
		op, err := c.Assets.Associate(ctx, matrixAssets, appsandbooks.WithPlanOnly()) // none of it was done
		if err != nil {
			return err
		}
		return sent(op.Retry(ctx))
	}},
	{"Operation.Undo", "assets/disassociate", writes, func(ctx ctx, c client, _ server) error {
		op, err := associated(ctx, c)
		if err != nil {
			return err
		}
		return sent(op.Undo(ctx))
	}},
}

func second[T any](_ T, err error) error { return err }

func drain[T any](seq iter.Seq2[T, error]) error { return second(appsandbooks.Collect(seq)) }

// sent is how the sending of an operation ended.
func sent(op *appsandbooks.Operation, err error) error {
	if err != nil || op == nil {
		return err
	}
	return unsettled(op.Report())
}

// unsettled is the first reason of a report, other than that it is early.
func unsettled(r *appsandbooks.Report) error {
	for o := range r.Problems() {
		if !errors.Is(o.Err, appsandbooks.ErrPending) {
			return o.Err
		}
	}
	return nil
}

func associated(ctx context.Context, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
	op, err := c.Assets.Associate(ctx, matrixAssets)
	if err != nil {
		return nil, err
	}
	_, err = op.Wait(ctx)
	return op, err
}

// effect is what a fault means to a request.
type effect int

const (
	// passes: the service certainly did nothing, and may do it a moment later.
	passes effect = iota
	// refused: the service certainly did nothing, and will not.
	refused
	// lost: an answer is missing. A read asks again.
	lost
	// useless: there is an answer that nobody can use, and no better one to be had.
	useless
	// bare: an answer without its content. Enough for a read; an accepted
	// write without its event is of no use.
	bare
	// fine: odd, but good.
	fine
)

type matrixFault struct {
	name   string
	effect effect
	fault  appsandbookstest.Fault
	is     error // what the error of a refusal is
	unsure bool  // a refusal that does not prove that nothing was done
	heavy  bool  // tens of megabytes
	typed  bool  // JSON, with parts of another type
}

func withHeader(number int, key, value string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Number: number, Header: http.Header{key: {value}}}
}

func redirectTo(status int, location string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Status: status, Body: " ", Header: http.Header{"Location": {location}}}
}

func ok(body string) appsandbookstest.Fault { return appsandbookstest.Fault{Status: 200, Body: body} }

var matrixFaults = []matrixFault{
	{name: "dial error", effect: passes, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultDial}},
	{name: "reset before", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore}},
	{name: "reset after", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetAfter}},
	{name: "EOF in the header", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultEOF}},
	{name: "EOF in the body", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody}},
	{name: "truncated gzip", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultTruncatedGzip}},
	{name: "body too slow", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour}},
	{name: "slow body", effect: fine, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: 20 * time.Second}},
	{name: "huge body", effect: useless, heavy: true, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultHugeBody, Size: 33 << 20}},
	{name: "decompression bomb", effect: useless, heavy: true, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultGzipBomb, Size: 33 << 20}},

	{name: "HTML 502", effect: lost, fault: appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}},
	{name: "HTML 502, processed", effect: lost, fault: appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>", Process: true}},
	{name: "empty 504", effect: lost, fault: appsandbookstest.Fault{Status: 504, Body: " "}},
	{name: "HTML 200", effect: useless, fault: ok("<html>Sign in to this network</html>")},
	{name: "empty 200", effect: useless, fault: ok(" ")},
	{name: "cut JSON 200", effect: useless, fault: ok(`{"eventId":"e","eventStatus":"COMPL`)},
	{name: "200 with an unreadable error number", effect: useless, fault: ok(`{"errorNumber":"E-9602","errorMessage":"no","uId":"u"}`)},
	{name: "200 with an error message only", effect: useless, fault: ok(`{"errorMessage":"no","users":[],"eventId":"e","uId":"u"}`)},
	{name: "429 without a body", effect: passes, fault: appsandbookstest.Fault{Status: 429, Body: " "}},
	{name: "429/9646", effect: passes, fault: appsandbookstest.Fault{Number: 9646}},
	{name: "500/9603", effect: passes, fault: appsandbookstest.Fault{Number: 9603}},
	{name: "200/9603", effect: passes, fault: appsandbookstest.Fault{Status: 200, Number: 9603}},
	{name: "500/9644", effect: passes, fault: appsandbookstest.Fault{Status: 500, Number: 9644}},
	{name: "500/9603, Retry-After in seconds", effect: passes, fault: withHeader(9603, "Retry-After", "60")},
	{name: "503/9729, Retry-After in seconds", effect: passes, fault: withHeader(9729, "Retry-After", "40")},
	{name: "503/9729, Retry-After as a date", effect: passes, fault: withHeader(9729, "Retry-After", "Sat, 01 Jan 2000 00:01:30 GMT")},
	{name: "503/9729, Retry-After in the past", effect: passes, fault: withHeader(9729, "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")},
	{name: "503/9729, huge Retry-After", effect: refused, is: appsandbooks.ErrServiceUnavailable, fault: withHeader(9729, "Retry-After", "99999999999999999999")},
	{name: "503/9729, Retry-After of a day", effect: refused, is: appsandbooks.ErrServiceUnavailable, fault: withHeader(9729, "Retry-After", "86400")},
	{name: "503/9729, junk Retry-After", effect: passes, fault: withHeader(9729, "Retry-After", "soon")},

	{name: "401 expired", effect: refused, is: appsandbooks.ErrTokenExpired, fault: appsandbookstest.Fault{Number: 9621}},
	{name: "401 revoked", effect: refused, is: appsandbooks.ErrTokenRevoked, fault: appsandbookstest.Fault{Number: 9625}},
	{name: "401 malformed", effect: refused, is: appsandbooks.ErrTokenMalformed, fault: appsandbookstest.Fault{Status: 401, Number: 9622}},
	{name: "200 malformed", effect: refused, is: appsandbooks.ErrTokenMalformed, fault: appsandbookstest.Fault{Status: 200, Number: 9622}},
	{name: "401 without a body", effect: refused, fault: appsandbookstest.Fault{Status: 401, Body: " "}},
	{name: "403/9637", effect: refused, is: appsandbooks.ErrForbiddenFacilitator, fault: appsandbookstest.Fault{Status: 403, Number: 9637}},
	{name: "400 of an unknown number", effect: refused, is: appsandbooks.ErrorNumber(12345), fault: appsandbookstest.Fault{Status: 400, Number: 12345}},
	{name: "501", effect: refused, unsure: true, fault: appsandbookstest.Fault{Status: 501, Body: "no"}},
	{name: "302 to another host", effect: refused, is: appsandbooks.ErrRedirect, fault: redirectTo(302, "https://thief.example.com/")},
	{name: "307 to another host", effect: refused, is: appsandbooks.ErrRedirect, fault: redirectTo(307, "https://thief.example.com/")},
	{name: "308 from https to http", effect: refused, is: appsandbooks.ErrRedirect, fault: redirectTo(308, "http://vpp.itunes.apple.com/mdm/v2/users")},

	{name: "missing fields", effect: bare, fault: ok(`{}`)},
	{name: "nulls", effect: bare, fault: ok(`{"eventId":null,"eventStatus":null,"failures":null,"users":null,"assets":null,"unlimitedAssets":null,
		"assignments":null,"subscriptions":null,"admins":null,"nextPageIndex":null,"nextCursor":null,"versionId":null,"uId":null,
		"tokenExpirationDate":null,"mdmInfo":null,"limits":null,"urls":null,"subscriptionManagement":null}`)},
	{name: "unknown enums and fields", effect: fine, fault: ok(`{"eventId":"e","eventStatus":"COMPLETE","eventType":"NEW","numCompleted":2,"numRequested":2,
		"users":[{"clientUserId":"canary-user","status":"New"}],"assets":[{"adamId":"1","productType":"New","pricingParam":"NEW"}],
		"subscriptions":[{"adamId":1,"status":"NEW"}],"admins":[{"adamId":1,"userStatus":"New"}],"urls":{"invitationEmail":"https://x.example.com/%25inviteCode%25"},
		"limits":{"maxNew":7},"notificationTypes":["NEW"],"brandNew":{"x":[1]},"subscriptionManagement":true,"versionId":"v"}`)},
	{name: "ids of the wrong type", effect: useless, typed: true, fault: ok(`{"eventId":5,"eventStatus":5,"users":[{"clientUserId":5}],"assets":[{"adamId":5}],
		"assignments":[{"adamId":5}],"subscriptions":[{"adamId":"x"}],"admins":[{"adamId":"x"}],"limits":5,"uId":5}`)},
}

// world is a unit in which every method has something to do.
func world(e endpoint) *appsandbookstest.Server {
	srv := appsandbookstest.NewServer(appsandbookstest.WithLatency(100*time.Millisecond), appsandbookstest.WithEventDelay(time.Second))
	u := srv.Unit()
	u.AddAsset(appsandbookstest.Asset{AdamID: matrixAsset, Total: 10})
	u.AddUser(appsandbookstest.User{ClientUserID: matrixUser, Status: appsandbookstest.UserAssociated})
	if e.method == "Subscriptions.Disable" {
		return srv // which is refused to a unit that has any
	}
	u.AddSubscription(appsandbookstest.Subscription{AdamID: matrixSeat, ParentAdamID: 1, Total: appsandbookstest.Seats{Renewing: 5}})
	u.AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: matrixSeat, ClientUserID: matrixUser, Renewing: true})
	return srv
}

// inWorld runs f in virtual time. No goroutine may outlive it.
func inWorld(t *testing.T, e endpoint, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, events int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := world(e)
		defer srv.Close()
		c := newClient(t, srv)
		defer c.Close()
		before := 0
		if e.path == "status" && !strings.HasPrefix(e.method, "Operation.") { // an event to ask for
			_, err := c.Assets.Associate(t.Context(), matrixAssets)
			require.NoError(t, err)
			before = 1
		}
		f(t, srv, c, before)
	})
}

func TestFaultMatrix(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			for _, f := range matrixFaults {
				if f.heavy && testing.Short() || f.effect == fine && e.kind == settles { // an event that does not exist
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					inWorld(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
						meetFault(t, e, f, 1, srv, c, events)
					})
				})
				if f.heavy || f.effect == fine {
					continue // once says it all
				}
				t.Run(f.name+", for ever", func(t *testing.T) {
					inWorld(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
						meetFault(t, e, f, 0, srv, c, events)
					})
				})
			}
		})
	}
}

// meetFault states what must hold when a method meets a fault.
func meetFault(t *testing.T, e endpoint, f matrixFault, times int, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
	fault := f.fault
	fault.Path, fault.Times = e.path, times
	if e.path == "client/config" || e.path == "subscriptions" { // which have a sibling or children
		fault.Method = http.MethodGet
		if e.kind == repeats {
			fault.Method = http.MethodPost
		}
	}
	srv.AddFault(fault)
	began := time.Now()
	err := e.call(t.Context(), c, srv)
	took := time.Since(began)
	attempts := 0
	for _, r := range srv.Requests() {
		if r.Path == e.path {
			attempts++
		}
	}
	accepted := 0
	for _, ev := range srv.Unit().Events()[events:] {
		if ev.Path == e.path {
			accepted++
		}
	}
	once, write := times == 1, e.kind == writes || e.kind == writesOnce || e.kind == settles
	operation := strings.HasPrefix(e.method, "Operation.")

	// Enable and Disable succeed only if the answer shows the setting.
	if setting := map[string]string{"Subscriptions.Enable": `"subscriptionManagement":true`, "Subscriptions.Disable": `"subscriptionManagement":false`}[e.method]; setting != "" &&
		(f.effect == bare || f.effect == fine && fault.Body != "") && !strings.Contains(fault.Body, setting) {
		require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
		return
	}

	// What holds of any error.
	if err != nil {
		var apple *appsandbooks.Error
		require.True(t, errors.As(err, &apple) || errors.Is(err, appsandbooks.ErrStalled) || errors.Is(err, appsandbooks.ErrNotVerified),
			"%T is no *Error: %v", err, err)
		for _, text := range []string{err.Error(), fmt.Sprintf("%v %+v %q", err, err, err)} {
			require.NotContains(t, text, srv.Unit().Token())
			require.NotContains(t, strings.ToLower(text), "canary", "ids are personal data")
		}
	}

	// Whether it succeeds, and what it says if not.
	var good, ambiguous bool
	switch f.effect {
	case fine:
		good = e.method != "Operation.Verify" || fault.Kind == appsandbookstest.FaultSlowBody
	case passes:
		good = once
	case lost:
		good = once && !write
		ambiguous = write
	case useless:
		good = once && e.kind == polls ||
			f.typed && e.path == "service/config" && e.method != "Users.InvitationURL" // which is read part by part
		ambiguous = write
	case bare:
		ambiguous = e.kind == writes || e.kind == settles
		good = !ambiguous && e.kind != walks && (once || e.kind != polls) &&
			e.method != "Users.InvitationURL" // which misses what it looks for
	case refused:
		ambiguous = f.unsure && write
		require.Error(t, err)
		if f.is != nil {
			require.ErrorIs(t, err, f.is)
		}
	}
	switch {
	case f.effect == refused:
	case e.kind == polls && operation:
		good = true // in the end, the data that it reads back is the truth
	case e.kind == settles && ambiguous:
		good = accepted == 1
		ambiguous = !good
	}
	require.Equal(t, good, err == nil, "%v", err)
	require.Equal(t, ambiguous, errors.Is(err, appsandbooks.ErrAmbiguous), "%v", err)

	// How often it asked, and how long that took.
	switch {
	case e.kind == polls:
		require.LessOrEqual(t, attempts, 5*21) // ten minutes of looks
		require.LessOrEqual(t, took, 30*time.Minute)
	case f.effect == refused || write && f.effect != passes:
		require.LessOrEqual(t, attempts, 1)
	default:
		require.LessOrEqual(t, attempts, 5)
		require.LessOrEqual(t, took, 10*time.Minute)
	}

	// A write was done once, or not at all; and if it fails for certain, it was not.
	if write && e.kind != writesOnce {
		require.LessOrEqual(t, accepted, 1)
		if err != nil && !ambiguous {
			require.Zero(t, accepted, "%v", err)
		}
		if err == nil && f.effect != fine {
			require.Equal(t, 1, accepted)
		}
	}

	require.Empty(t, srv.Violations())
}

// A token that is replaced between two attempts.
func TestFaultMatrixTokenReplaced(t *testing.T) {
	for _, e := range endpoints {
		if e.path == "service/config" {
			continue // which does not ask for one
		}
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			for _, source := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					srv := world(e)
					defer srv.Close()
					token := srv.Unit().Token()
					replaced := false
					rt := roundTripper(func(r *http.Request) (*http.Response, error) {
						if strings.HasSuffix(r.URL.Path, "/"+e.path) && !replaced {
							replaced = true
							token = srv.Unit().ReplaceToken()
							srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9603, Times: 1})
						}
						return srv.Transport().RoundTrip(r)
					})
					opts := []appsandbooks.Option{appsandbooks.WithHTTPClient(&http.Client{Transport: rt})}
					if source {
						opts = append(opts, appsandbooks.WithTokenSource(func(context.Context) (string, error) { return token, nil }))
					}
					first := token
					c, err := appsandbooks.NewClient(first, opts...)
					require.NoError(t, err)
					defer c.Close()
					if e.path == "status" && e.method != "Operation.Wait" && e.method != "Operation.Step" {
						_, err := c.Assets.Associate(t.Context(), matrixAssets)
						require.NoError(t, err)
					}
					err = e.call(t.Context(), c, srv)
					require.True(t, replaced)
					if source {
						require.NoError(t, err)
						return
					}
					require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
					require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
					require.NotContains(t, err.Error(), first)
				})
			}
		})
	}
}

// steps counts what happens to requests, and ends a context at one of them.
type steps struct {
	next http.RoundTripper

	mu     sync.Mutex
	n      int
	at     int // -1: never
	cancel func()
}

func (s *steps) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == s.at {
		s.cancel()
	}
	s.n++
}

func (s *steps) RoundTrip(r *http.Request) (*http.Response, error) {
	s.step() // about to be sent
	resp, err := s.next.RoundTrip(r)
	s.step() // headers
	if err != nil {
		return nil, err
	}
	resp.Body = &steppedBody{ReadCloser: resp.Body, s: s}
	return resp, nil
}

type steppedBody struct {
	io.ReadCloser
	s    *steps
	once sync.Once
}

func (b *steppedBody) Read(p []byte) (int, error) {
	b.once.Do(b.s.step) // amid the body
	return b.ReadCloser.Read(p)
}

var errLeaving = errors.New("the caller is leaving")

// A context that ends at any step ends the call promptly, with its cause.
func TestFaultMatrixCancelled(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			run := func(at int, began *time.Time) (total int, err error) {
				synctest.Test(t, func(t *testing.T) {
					srv := world(e)
					defer srv.Close()
					ctx, cancel := context.WithCancelCause(t.Context())
					s := &steps{next: srv.Transport(), at: -1, cancel: func() { *began = time.Now(); cancel(errLeaving) }}
					c, cerr := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(&http.Client{Transport: s}))
					require.NoError(t, cerr)
					defer c.Close()
					if e.path == "status" {
						_, aerr := c.Assets.Associate(t.Context(), matrixAssets)
						require.NoError(t, aerr)
					}
					// The pause after a refusal is a step of its own.
					srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9603, Times: 1})
					s.mu.Lock()
					s.n, s.at = 0, at
					s.mu.Unlock()
					err = e.call(ctx, c, srv)
					s.mu.Lock() // a flight for all callers may go on without this one
					total = s.n
					took := time.Since(*began)
					s.mu.Unlock()
					if at >= 0 {
						require.LessOrEqual(t, took, 6*time.Second, "step %d", at) // the grace of a write
					}
					if err != nil && at >= 0 {
						require.ErrorIs(t, err, context.Canceled, "step %d", at)
						require.ErrorIs(t, err, errLeaving, "step %d", at)
					}
					cancel(nil)
				})
				return total, err
			}
			var at time.Time
			total, err := run(-1, &at)
			require.NoError(t, err)
			require.Greater(t, total, 3)
			for step := range total {
				_, _ = run(step, &at)
			}
		})
	}
}

// A context that ends in a pause ends it at once, and one that has ended
// already sends nothing.
func TestFaultMatrixCancelledInPause(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			inWorld(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, _ int) {
				gone, cancel := context.WithCancelCause(t.Context())
				cancel(errLeaving)
				srv.ResetRequests()
				err := e.call(gone, c, srv)
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorIs(t, err, errLeaving)
				if e.path != "service/config" {
					require.Zero(t, countPath(srv, e.path))
				}

				srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9729, Header: http.Header{"Retry-After": {"200"}}})
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var at time.Time
				go func() {
					for ctx.Err() == nil && countPath(srv, e.path) == 0 {
						time.Sleep(time.Second)
					}
					time.Sleep(30 * time.Second)
					at = time.Now()
					cancel(errLeaving)
				}()
				err = e.call(ctx, c, srv)
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorIs(t, err, errLeaving)
				require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
				require.Zero(t, time.Since(at))
			})
		})
	}
}

// Every method of the client, of its services and of operations that takes a
// context makes requests, and is in the matrix.
func TestFaultMatrixIsComplete(t *testing.T) {
	known := map[string]bool{
		// Their requests are those of Config.ClientConfig and Config.UpdateClientConfig.
		"Config.Register": true, "Config.Unregister": true, "Config.Claim": true,
	}
	for _, e := range endpoints {
		known[e.method] = true
	}
	var missing []string
	look := func(name string, typ reflect.Type) {
		for i := range typ.NumMethod() {
			m := typ.Method(i)
			if m.Type.NumIn() < 2 || m.Type.In(1) != reflect.TypeFor[context.Context]() {
				continue
			}
			if full := name + "." + m.Name; known[full] {
				delete(known, full)
			} else {
				missing = append(missing, full)
			}
		}
	}
	c := reflect.TypeFor[appsandbooks.Client]()
	look("Client", reflect.PointerTo(c))
	look("Operation", reflect.TypeFor[*appsandbooks.Operation]())
	for _, f := range reflect.VisibleFields(c) {
		if f.IsExported() {
			look(f.Name, f.Type)
		}
	}
	slices.Sort(missing)
	require.Empty(t, missing, "methods without a line in the matrix")
	require.Empty(t, known, "lines without a method")
}
