/*
Package appsandbookstest is a stand-in for Apple's App, Book, and Subscription
Management API (version 2), for tests.

Apple offers no sandbox: every request to Apple's service changes real
assignments. The stand-in is a [Server] that keeps a record of licenses and
assignments like the service's. It validates requests and refuses them with the
service's error numbers, queues writes as events, counts every license, returns
lists in pages with versions, and sends notifications. It injects faults on
request, and records clients that break the service's rules. It depends only on
the standard library and does not import package testing, so it can also be part
of a demo or a load test.

# Quick start

	srv, err := appsandbookstest.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()

	unit := srv.Unit()
	unit.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	unit.AddUser(appsandbookstest.User{ClientUserID: "user-1"})

	client := srv.Client() // sends all requests to the server, in memory
	req, _ := http.NewRequest("GET", srv.URL()+"/assets", nil)
	req.Header.Set("Authorization", "Bearer "+unit.Token())
	resp, err := client.Do(req)

	// ... let the code under test associate the asset, then read what is assigned:
	unit.HasAssignment(appsandbookstest.Assignment{AdamID: "361309726", ClientUserID: "user-1"})
	srv.Requests()   // the requests that the server received
	srv.Violations() // the rules of conduct that they broke

[Server.Listen] makes the server available to other programs, at [Server.URL].

# Virtual time

The server uses package time only to read the clock and to set timers, and
[Server.Transport] starts no goroutines. A server that is created inside a
bubble of testing/synctest therefore runs in virtual time: days of polling,
retries and billing periods take a moment, and every time is exact. In virtual
time, deliver notifications with [HandlerTransport].

	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(
			appsandbookstest.WithEventDelay(42*time.Second),
			appsandbookstest.WithLatency(200*time.Millisecond),
			appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(receiver)),
		)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		// ...
	})

# Events

The server queues a valid write as an event, and answers with the id of the
event. It applies the event when the delay of [WithEventDelay] is over. The
effect becomes visible at that moment, and not earlier. The server applies the
events of a unit in the order in which it accepted them. [Unit.HoldEvents] keeps
events PENDING, [Unit.FinishEvents] applies them at once, and
[Unit.FailNextEvent] and [Unit.FailTarget] make them fail.

A refused write changes nothing and queues no event.

# Faults

[Server.AddFault] injects faults:

  - connections that cannot be made, or that are reset before or after the
    request is processed,
  - answers that are cut, slow, huge or badly compressed,
  - any other answer, such as a proxy's HTML, 429 and 5xx with any Retry-After,
    a redirect, or an error inside an HTTP 200 answer.

The same faults occur in memory and over TCP.

# Rules of conduct

The service expects some behavior of clients that it does not enforce. The
constants of type [Rule] list these rules. [Server.Violations] returns the
violations. A client for which it returns none has followed all rules. Over TCP,
times are those of a real clock and scheduler. Test exact request rates in
virtual time.

# Choices

Apple's documentation leaves many details open. The stand-in had to choose. No
client should depend on these choices.

Requests:

  - Requests are checked in this order: path, method, Authorization, content
    type, form of the body, missing items, number of different items, repeated
    items, existence. Unknown fields and parameters are ignored. An unknown path
    is answered with 404 and HTML.
  - An unknown token is refused with 9601. The value of the field "token" inside
    a content token is refused with 9622, in an HTTP 200 answer unless
    [WithMalformedTokenStatus] is set. Writes with a read-only token are refused
    with 9637.
  - A request with clientUserIds that no active user has is refused with 9609.
    The errorInfo names all of them. With [WithAsyncUserNotFound] the event fails
    instead. Disassociate, revoke and retire also accept the ids of retired
    users, succeed, and change nothing.
  - If pricingParam is missing, it is STDQ. If renewing is missing, it is false.
    Both are violations of [RuleUndocumentedDefault].

Assets:

  - Associating an existing assignment succeeds and uses no second license.
    Disassociating a missing assignment succeeds. An asset that is not in the
    library has no licenses, so associating it fails with 9709.
  - Disassociate refuses an irrevocable asset with 9706. Revoke skips it. A
    request with serial numbers and an asset for users only is refused with 9707.
  - The tasks of a revoke request (numRequested) are the assignments that it
    removes.
  - An unlimited asset has a total of 2147483647. Its available licenses are the
    total minus the assigned ones. With unlimited=true, the answer also lists
    the assets that are not unlimited, and size counts both lists.

Events:

  - While an event is PENDING, numCompleted is zero and failures is missing.
  - The pairs of the assets and targets in an errorInfo are exactly the tasks
    that failed, so several failures may have the same error number. See
    [WithLooseErrorInfo] and [WithoutErrorInfo]. The errorInfo of subscriptions
    names only users, since it has no field for subscriptions.

Users:

  - Retiring a user removes the user's revocable assignments, seats and
    administrator roles. It sends no ASSET_MANAGEMENT. Irrevocable assignments
    stay in the list, and their licenses count as retired. If the clientUserId is
    created again, the list has a second entry for it. The invite code stays
    after the invitation was accepted.
  - A managedAppleId of another active user fails with 9641, and one without an
    at sign with 9635. An update changes only the fields of the request, and an
    empty field does not change the user.
  - activeOnly together with retiredOnly is refused with 9602.

Lists:

  - An empty list has one page. A page index that is not a number is refused with
    9602, and one outside the list with 9650.
  - An answer to sinceVersionId does not contain removed records. The parameter
    can be combined with filters. A versionId does not expire, except by
    [Unit.ForgetVersions].
  - A cursor is valid only with the endpoint and the filters of its list. It does
    not expire. Parameters with several values can be repeated. Several Adam IDs
    can also be separated by commas.

Configuration:

  - The URL of contentMetadataLookup in service/config is one of the server
    itself, which answers it with 404.
  - A POST to client/config does not change fields that it leaves out. A
    notification URL cannot be removed. An empty list of types ends
    notifications. Lengths are counted in characters. The server sends one test
    notification for each request with a URL, with the new secret. A URL may have
    a port. For loopback hosts, http is valid.

Notifications:

  - The server sends the notifications of a unit one after another, in the order
    of the events unless [NotificationOptions] say otherwise. It uses the URL and
    the secret that are configured when it sends them. A unit can subscribe to
    UNLIMITED_ASSET, but the server does not send it; see
    [Unit.SendNotification].

Subscriptions:

  - Subscriptions can be bought before subscription management is enabled.
  - A seat without an available license fails with 9709. A renewing assignment
    needs a renewing license. An expiring assignment uses an expiring license if
    one is available, and a renewing license otherwise. Associating with
    the other value of renewing changes the assignment.
  - Users must have the status Associated (9814), also to become administrators.
    A user must have every subscription that is to be disassociated (9815).
  - Subscriptions that are not active, empty lists and repeated items are refused
    with 9811. Requests above one of the two limits are refused with 9816, also
    those for administrators.
  - A deferred disassociation makes the assignment expiring. Its event stays
    PENDING until [Unit.EndBillingPeriod]. If the seat is associated again before
    that, it stays.
*/
package appsandbookstest
