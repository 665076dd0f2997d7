/*
Package appsandbookstest is a stand-in for Apple's App, Book, and Subscription
Management API (version 2), for tests.

Apple offers no sandbox: whatever a client sends to the real service moves real
licences. The stand-in is a [Server] that keeps books as the service does. It
validates requests with the service's error numbers, queues writes as events,
counts every licence, pages and versions its lists, sends notifications, breaks
on demand, and tells on clients that misbehave. It has no dependency and does
not need package testing, so it can also run inside a demo or a load test.

# Quick start

	srv := appsandbookstest.NewServer()
	defer srv.Close()

	unit := srv.Unit()
	unit.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	unit.AddUser(appsandbookstest.User{ClientUserID: "user-1"})

	client := srv.Client() // reaches the server in memory, whatever the host
	req, _ := http.NewRequest("GET", srv.URL()+"/assets", nil)
	req.Header.Set("Authorization", "Bearer "+unit.Token())
	resp, err := client.Do(req)

	// ... let the code under test associate, then look at the ledger:
	unit.HasAssignment(appsandbookstest.Assignment{AdamID: "361309726", ClientUserID: "user-1"})
	srv.Requests()   // what was sent
	srv.Violations() // what should not have been

To be reached by other programs, call [Server.Listen] and use [Server.URL].

# Virtual time

The server uses the time package only for the present time and for timers, and
[Server.Transport] starts no goroutines. A server that is created inside a
bubble of testing/synctest therefore runs in virtual time: days of polling,
retries and billing periods pass in a moment and with exact schedules. Deliver
notifications with [HandlerTransport] there.

	synctest.Test(t, func(t *testing.T) {
		srv := appsandbookstest.NewServer(
			appsandbookstest.WithEventDelay(42*time.Second),
			appsandbookstest.WithLatency(200*time.Millisecond),
			appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(receiver)),
		)
		defer srv.Close()
		// ...
	})

# Events

A write that passes validation is queued as an event, and answered with its id.
It is carried out when the delay of [WithEventDelay] has elapsed; its outcome is
visible from that very moment, and not earlier. The events of a unit are carried
out in the order in which they were accepted. [Unit.HoldEvents] stalls them,
[Unit.FinishEvents] does not wait for them, and [Unit.FailNextEvent] and
[Unit.FailTarget] make them fail.

A write that is refused has changed and queued nothing.

# Faults

[Server.AddFault] breaks requests: connections that cannot be made or are reset
before or after the request is processed, answers that are cut, slow, huge or
badly compressed, and answers of any other kind (HTML from a proxy, 429, 5xx with
all sorts of Retry-After, redirects, errors in a 200). The same faults occur in
memory and over TCP.

# Rules of conduct

[Server.Violations] lists what the service asks of clients and does not enforce:
see the constants of type [Rule]. A test that ends with an empty list has shown
good manners. Over TCP the times are those of a real clock and scheduler; exact
statements about rates are for virtual time.

# Choices

The service's documentation leaves much unsaid. Where the stand-in had to choose,
no client should rely on the choice:

  - Requests are checked in this order: path, method, Authorization, content type,
    form of the body, missing items, numbers of items (of different ones),
    repeated items, existence. Unknown fields and parameters are ignored. Unknown
    paths answer 404 with HTML. An unknown token is 9601; the inner token of a
    token file is 9622, in a 200 unless [WithMalformedTokenStatus] says otherwise.
    Writes with a read-only token are 9637.
  - A clientUserId that no active user has is a refusal (9609) of the whole
    request that names all such ids; with [WithAsyncUserNotFound] it is a failure
    of the event. Retired users are known to disassociate, revoke and retire, which
    succeed and change nothing.
  - To associate what is associated is a success that costs no second licence. To
    disassociate what is not is a success. An asset that the library does not have
    has no licences (9709 when associated).
  - An irrevocable asset is refused by disassociate (9706) and passed over by
    revoke. With serial numbers, an asset for users only is refused (9707).
  - The tasks of a revoke request (numRequested) are the assignments it takes away.
  - A pricingParam that is left out means STDQ, and a renewing that is left out
    means false; both are noted under [RuleUndocumentedDefault].
  - While an event is PENDING, numCompleted is zero and there are no failures.
  - In failures, the product of the assets and the targets of an errorInfo is
    exactly what failed, even if a number stands in several failures for that; see
    [WithLooseErrorInfo] and [WithoutErrorInfo]. The errorInfo of subscriptions
    names users only, as it has no place for their Adam IDs.
  - Retiring a user releases the licences that can be revoked, the seats, and the
    offices of an administrator, and sends no ASSET_MANAGEMENT. Other licences
    stay listed, and count as retired. A clientUserId that is created again gets a
    second entry. An invite code stays when the invitation is accepted.
  - A managedAppleId that another active user has is a failure with 9641, one
    without an at sign with 9635. An update changes what is given and clears nothing.
  - activeOnly together with retiredOnly is 9602.
  - An unlimited asset has a total of 2147483647, and what is not assigned of that is
    available. With unlimited=true, assets that are not unlimited are listed as
    well, and size counts both lists.
  - An empty list has one page. A page index that is not a number is 9602, and
    one outside the list is 9650. Removed records are missing from answers to
    sinceVersionId, which can be combined with the other parameters; what it
    promises never expires, except through [Unit.ForgetVersions]. A cursor is bound
    to the endpoint and the filters it came from, and never expires. Several values
    of a filter can be given in repeated parameters or, Adam IDs, between commas.
  - The URL of contentMetadataLookup in service/config leads to the server itself,
    which has no such thing (404).
  - In client/config, fields that are absent stay as they are. There is no way to
    remove a URL; an empty list of types ends notifications. Lengths count
    characters. The test notification is sent, once, whenever the request has a
    URL, and carries the new secret. A URL may have a port; http is accepted for
    hosts on this machine.
  - Notifications of a unit are sent one after another, in the order of events
    unless [NotificationOptions] says otherwise, to the URL and with the secret of
    the moment. UNLIMITED_ASSET can be subscribed to and is never sent; see
    [Unit.SendNotification].
  - Subscriptions can be bought whether or not they are enabled. Seats that are
    missing are 9709. A renewing assignment needs a renewing licence; an expiring
    one takes an expiring licence if there is one. To associate with the other
    value of renewing changes the assignment. Users must be associated (9814), also
    to be administrators, and must have every subscription they are to lose (9815).
    Subscriptions that are not active, lists that are empty and items that are
    repeated are 9811, over both limits also for administrators 9816.
  - A deferred disassociation makes the assignment an expiring one, and its event
    stays PENDING until [Unit.EndBillingPeriod]. Associating anew before that keeps
    the seat.
*/
package appsandbookstest
