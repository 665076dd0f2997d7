// Package appsandbooks is a client for version 2 of Apple's App, Book, and
// Subscription Management API ("Apps and Books"). A device management service holds
// one content token for each organizational unit, and changes which users and devices
// have the unit's licenses. This package carries out the change, reports when it is
// complete, and reports each pair that failed.
//
//	client, err := appsandbooks.NewClient(stoken) // the content of the .vpptoken file
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//
//	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
//		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
//		SerialNumbers: serials, // any number of them
//	})
//	if err != nil {
//		return err // there is no operation, and nothing was sent
//	}
//	report, err := op.Wait(ctx) // returns when nothing more can be learned now; op.Next says whether to wait again
//	for o := range report.Problems() {
//		log.Println(o.SerialNumber, o.Status, o.Err)
//	}
//	return err // the error is nil only if every pair succeeded
//
// # Terms
//
//   - An organizational unit (unit) is the part of an organization whose licenses and
//     users a content token gives access to; its uId (Meta.UID) identifies it.
//   - A content token (sToken) is the whole content of a .vpptoken file, and
//     authenticates the calls for one unit ([Token]).
//   - An asset is an app or a book, identified by its Adam ID and its quality
//     ([AssetID]).
//   - A license is the right to assign an asset once.
//   - An assignment is an asset that is assigned to a user or a device ([Assignment]).
//   - A seat is an in-app subscription that is assigned to a user
//     ([SubscriptionAssignment]).
//   - A target is a user or a device.
//   - A pair is an asset or a subscription, together with a target; in changes of users
//     and in [AssetsService.Revoke], the pair is the target alone.
//   - An operation is one change of any size ([Operation]), sent in as few requests as
//     the current limits allow.
//   - A request is one POST of an operation.
//   - An event is the service's work on a request that it has accepted; the service does
//     this work later, and the event has a status ([EventStatus]).
//   - An outcome is the result for one pair ([Outcome]): succeeded (the service has
//     confirmed the change), failed (the pair was not changed, and will not be),
//     unconfirmed (it is not known yet whether the pair was changed), or unsent (nothing
//     has happened to the pair yet).
//   - To poll is to read the status of an event.
//   - To read back is to read assignments, users or seats, to find out whether a pair is
//     present.
//   - A journal is the record of an operation's steps, one entry for each step
//     ([WithJournal]).
//   - The pace is how fast a client sends requests for a unit: at most
//     maxRequestPerSecond, and none during the pause of a Retry-After ([Limiter]).
//   - A notification is a message that the service POSTs to a URL of the caller
//     ([Notification]).
//
// A [Report] has exactly one outcome for each pair of an operation, and the reason
// unless the pair succeeded.
//
// An asset that was assigned is not installed yet: send the install command after the
// pair has succeeded. A success does not show that a device exists, because the service
// accepts serial numbers that do not exist; [Operation.Verify] reads the assignments back.
//
// # Calls
//
// These rules hold for every call of the service, unless the documentation of the
// method says otherwise:
//
//   - A call returns when the service has answered.
//   - A call that starts an [Operation] sends the requests of the operation. It returns
//     when all requests have been answered, or when something has stopped the sending.
//     It returns either an operation or an error, never both. What the service refused,
//     and what stopped the sending, are errors of [Operation.Wait], which also waits for
//     the outcomes: the service processes the requests later.
//   - The context bounds the call, including its waits and retries. When the context
//     ends, the call returns an error that wraps the context's error and its cause. A
//     call that has begun to send an operation returns the operation without an error;
//     Wait returns the context's error. A request of an operation that is in progress
//     then has five more seconds to return its event id.
//   - A failed call is retried according to the section Retries.
//   - If the input is invalid, the error wraps [ErrInvalid], and nothing is sent.
//   - Calls can be made from any number of goroutines.
//
// # Saving and resuming
//
// [Operation.Save] saves an operation at any moment, without secrets. [Client.Resume]
// continues it, also in another process. With [WithJournal], an operation survives a crash
// at any moment: the result of a request that was about to be sent is then unknown, and
// the operation reads it back. [Operation.Step] replaces [Operation.Wait] for callers that
// must not sleep: it does what is due, and [Operation.Next] returns the time of the next
// step. Only one call carries out an operation at a time; a second one returns [ErrBusy].
//
// # Errors
//
// Every answer that is not a success is an [*Error]; this includes an error inside an
// HTTP 200 answer. Test for the meaning of an error with errors.Is and the [ErrorNumber]
// constants, or with [IsAuth], [IsForbidden], [IsRetryable] and [IsNotFound]. These also
// find the errors inside the error of an operation ([*OperationError]) or of an event
// ([*EventError]). The text of an error contains neither the token nor ids of people.
//
// The following table has the numbers of the service's errors, their constants, and what
// to do. The guide [docs/operations.md] describes them in more detail:
//
//	9601  ErrLoginRequired                  Pass a content token.
//	9602  ErrInvalidArgument                Correct the request.
//	9603  ErrInternal                       The SDK retries. If all retries fail, retry later.
//	9609  ErrUserNotFound                   Create the user, and wait until the user exists.
//	9621  ErrTokenExpired                   Download a new content token.
//	9622  ErrTokenMalformed                 Pass the whole content of the .vpptoken file.
//	9623  ErrInvalidPushToken               Report it: no field of version 2 takes a push token.
//	9625  ErrTokenRevoked                   Download a new content token.
//	9634  ErrServiceRemoved                 Update the SDK.
//	9635  ErrAccountNotAssociable           Check the Managed Apple Account.
//	9637  ErrForbiddenFacilitator           Use the token of a content manager.
//	9641  ErrAccountAlreadyAssociated       Find the user that has this Apple Account.
//	9644  ErrMaintenance                    The SDK retries. If all retries fail, retry later.
//	9646  ErrTooManyRequests                The SDK retries. Clients of a unit must share a Limiter.
//	9647  ErrLegacyToken                    Download a token for the organizational unit.
//	9650  ErrInvalidPageIndex               Read the list again from the start.
//	9700  ErrTooManyAssets                  Name fewer assets. Operations split the request.
//	9701  ErrTooManyClientUserIDs           Name fewer clientUserIds. Operations split the request.
//	9702  ErrTooManySerialNumbers           Name fewer serialNumbers. Operations split the request.
//	9703  ErrDuplicateAssets                Remove the duplicates. Operations do this already.
//	9704  ErrDuplicateClientUserIDs         Remove the duplicates. Operations do this already.
//	9705  ErrDuplicateSerialNumbers         Remove the duplicates. Operations do this already.
//	9706  ErrAssetNotRevocable              Leave the asset out: a book stays assigned.
//	9707  ErrAssetNotDeviceAssignable       Assign the asset to a user.
//	9708  ErrEventNotFound                  Read the data back instead of the event's status.
//	9709  ErrNotEnoughLicenses              Buy licenses, or remove assignments.
//	9710  ErrNotificationConfigIncomplete   Set both the URL and the token.
//	9711  ErrNotificationConfigTooLong      Shorten it to maxNotificationLength.
//	9712  ErrNotificationURLInvalid         Use https, a host and a path, and nothing else.
//	9713  ErrMDMMetadataTooLong             Shorten it to maxMdmMetadataLength.
//	9714  ErrTooManyUsers                   Name fewer users. Operations split the request.
//	9715  ErrDuplicateUsers                 Remove the duplicates. Operations do this already.
//	9716  ErrUserAlreadyExists              Update the user instead.
//	9717  ErrInvalidEmail                   Correct the email address.
//	9718  ErrAssetRequired                  Name at least one asset.
//	9719  ErrAssigneeRequired               Name at least one user or device.
//	9720  ErrUsersRequired                  Name at least one user.
//	9721  ErrInvalidVersionID               Read the whole list again.
//	9722  ErrInvalidAuthHeader              Pass the whole content of the .vpptoken file.
//	9723  ErrMDMInfoIncomplete              Set id, name and metadata together.
//	9724  ErrMDMIDTooLong                   Shorten it to maxMdmIdLength.
//	9725  ErrMDMNameTooLong                 Shorten it to maxMdmNameLength.
//	9726  ErrMethodNotAllowed               Update the SDK.
//	9727  ErrUnsupportedContentType         Update the SDK.
//	9728  ErrNotificationURLUnreachable     Start the receiver first. Apple must be able to reach it.
//	9729  ErrServiceUnavailable             The SDK retries. If all retries fail, retry later.
//	9811  ErrInvalidSubscriptionAssociation Correct the request.
//	9812  ErrInvalidCursor                  Read the list again from the start.
//	9813  ErrInvalidAdamID                  Correct the Adam ID.
//	9814  ErrUserNotAssociated              The user must accept the invitation first.
//	9815  ErrSubscriptionNotAssigned        Do nothing: the user has no seat to remove.
//	9816  ErrTooManySubscriptions           Name fewer of them. Operations split the request.
//	9817  ErrSubscriptionAssignedByGroup    Change the group instead.
//	9818  ErrSubscriptionsExist             Wait until the unit has no subscriptions.
//
// The errors of the SDK itself:
//
//   - [ErrAmbiguous], [ErrStalled] and [ErrPending] mean that the result is not known yet.
//   - [ErrNotSent] means that the service has not accepted a request for the pair, so
//     nothing has happened to it: the pair is unsent.
//   - [ErrUnfinished] means that [Operation.Retry] or [Operation.Undo] was called before
//     the operation was at its end.
//   - [ErrBusy] means that another call carries out the operation at this moment, or has
//     continued a newer copy of it.
//   - [ErrNotVerified] means that reading back did not find the change.
//   - [ErrTakenOver] means that another device management service manages the unit.
//   - [ErrAnswerDiffers] means that the service accepted settings, but that its answer does
//     not contain them.
//   - [ErrRestarted] and [ErrDataChanged] mean that the data changed while a list was read.
//   - [ErrNoProgress] means that the pages of a list do not lead to its end.
//   - [ErrRedirect] means that the service answered with a redirect, which the SDK does not
//     follow.
//   - [ErrOtherUnit] means that an operation belongs to another unit than the client.
//   - [ErrInvalid] means that the input is invalid, and that nothing was sent.
//   - [ErrNoToken] means that the call needs a content token.
//   - [ErrClosed] means that the client is closed.
//
// # Retries
//
// A call makes up to five attempts (see [WithRetry]). The wait between two attempts is
// random; its upper bound doubles with each attempt. A minor release may change these
// rules:
//
//   - A read is retried after a network error, an incomplete answer, status 429, and
//     status 5xx except 501. A write that has the same result when it is sent twice, such
//     as [ConfigService.Register], is retried like a read; the documentation of the method
//     says so.
//   - Every call is retried after status 429 and after an error of the service that means
//     "later" (9603, 9644, 9646, 9729, or an unknown number with a status 5xx except 501):
//     such an answer shows that the service started nothing. An error with another known
//     number is final, whatever the status. After 9603, an operation does not rely on
//     this: an attempt of the request may have begun, so its pairs are unconfirmed until
//     another attempt has succeeded or the lists show them; they have failed only after
//     six stall times.
//   - Every call is retried if its request was certainly not sent.
//   - Any other write that was sent and got no usable answer is not repeated: its error is
//     [ErrAmbiguous]. No usable answer means a network error, an unreadable success, a
//     status 301, 302 or 303, or a status 5xx without an error number of the service. An
//     operation finds out the result by reading back.
//   - A poll of [Operation.Wait], [Operation.Step] or [StatusService.Wait] is not repeated
//     when its answer was lost, because the answer may have been PENDING. The next poll
//     comes when the interval of [WithPolling] has passed.
//   - A Retry-After, in seconds or as a date, delays all requests of the client and of
//     the clients that share its [Limiter], for at most a day. It applies to status 429,
//     to status 5xx, and to an error that means "later". If the pause is longer than
//     [WithMaxPause] allows, the call ends with an [*Error] whose RetryAfter is set.
//   - If the context's deadline comes before the end of a pause, or of the wait between two
//     attempts, the call ends at once.
//   - Redirects, certificate errors and other statuses 4xx are final.
//   - A client can make 100 retries in a row. Each success adds a fifth of a retry to this
//     budget, and each ten seconds add one. So an outage is not made worse by retries.
//   - In addition, net/http repeats a read at once if the service closed an idle connection
//     before any part of the answer came.
//
// # Pace
//
// The service announces how many requests per second it accepts for an organizational
// unit (15, unless its configuration has another number). The client never sends more.
// Several clients of one unit must share a [Limiter] ([WithLimiter]). At most five pages
// are read at once. [Operation.Wait], [Operation.Step] and [StatusService.Wait] poll an
// event again at the earliest 30 seconds after an answer of PENDING ([WithPolling]). All
// polls of one client share that pause, and an answer to [StatusService.Get] starts it too.
//
// # Lists and versions
//
// Each list has the methods List, Pages and All. List reads one [Page]. Pages and All are
// iterators over the pages and over the records. [ListOptions] sets where they begin. An
// iterator sends no request before its loop begins, and can be used again. If it fails,
// the error is its last element; only after [ErrRestarted] do more elements follow.
// [Collect] returns the elements as a slice.
//
// The lists of assets, assignments and users have a page index: the iterators request up
// to five pages in parallel, before the loop needs them, and yield them in order. The
// lists of subscriptions, their assignments ([SubscriptionAssignmentsService]) and their
// administrators ([SubscriptionAdminsService]) have cursors: the iterators request the
// next page while the loop processes a page. A loop that ends early cancels its requests.
// The memory does not grow with the number of records; it holds a few pages.
//
// Data can change while it is read. Page.Changed is then true, and the iterator continues.
// With ListOptions.Restarts, it reads the list again from ListOptions.Start instead.
// [UsersService.Changes] and [AssignmentsService.Changes] read what changed since the
// list was read before: keep the Page.FirstVersionID of each reading for the next call.
//
// Changes does not show assignments that were removed: read the whole list from time to
// time.
//
// # Notifications
//
// The service POSTs notifications to a URL of the caller. It does not guarantee their
// delivery: they can get lost, arrive twice, and arrive in any order. A
// [NotificationHandler] receives them. It passes each notification to the caller's hook
// once (in rare cases again), and acknowledges it only after the hook has returned nil.
// [ConfigService.Register] registers the URL; if the service cannot reach the URL, the
// error gives advice. Start the receiver before you call Register.
//
// Pass [Client.Notify] to [WithNotify]. Then a wait for an operation or an event ends as
// soon as notifications show the result. Everything also works without notifications, but
// later, because then only polls show the result.
//
// # Ownership
//
// Two device management services that manage the same organizational unit damage each
// other's assignments without an error. With [WithOwner], a client stops writing
// ([ErrTakenOver]) when an answer shows that another one has claimed the unit.
//
// # Many units
//
// A [Client] calls the service for one organizational unit and needs few resources. Let
// all clients of a process share one http.Client ([WithHTTPClient]), and all clients of
// one unit share one [Limiter]. Identify a unit by Meta.UID, not by its token. See the
// guide [docs/fleet.md].
//
// # Logs and metrics
//
// [WithLogger] logs each attempt; the message and the names of its attributes do not
// change. [WithTrace] calls a function after each attempt with all values that metrics
// need, so the SDK needs no metrics library.
//
// # Testing
//
// Apple offers no sandbox. Package [appsandbookstest] is a stand-in for the service. It
// keeps the state of organizational units, runs in memory or over TCP, in real or in
// virtual time, and injects faults on request. See the guide [docs/testing.md].
//
// [appsandbookstest]: https://pkg.go.dev/github.com/appsandbooks/appsandbooks/appsandbookstest
// [docs/fleet.md]: https://github.com/appsandbooks/appsandbooks/blob/main/docs/fleet.md
// [docs/operations.md]: https://github.com/appsandbooks/appsandbooks/blob/main/docs/operations.md
// [docs/testing.md]: https://github.com/appsandbooks/appsandbooks/blob/main/docs/testing.md
package appsandbooks

//go:generate go run ./internal/errortable
//go:generate sh -c "go run ./internal/apilist . ./appsandbookstest ./postgres > api.txt"
