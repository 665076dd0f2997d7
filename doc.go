// Package appsandbooks is a client for version 2 of Apple's App, Book, and
// Subscription Management API ("Apps and Books"). A device management service
// holds one content token for each organizational unit, and wants to say: these
// licences belong to these users and devices. This package makes it so, tells
// when it is true, and tells exactly what is not.
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
//		return err // nothing was accepted
//	}
//	report, err := op.Wait(ctx) // until every pair of app and device is accounted for
//	for o := range report.Problems() {
//		log.Println(o.SerialNumber, o.Status, o.Err)
//	}
//	return err // nil only if every pair succeeded
//
// # The model
//
//   - An asset is an app or a book, by its Adam ID and quality ([AssetID]). A
//     licence is the right to assign it once.
//   - An assignment is a licence that belongs to a user or to a device. A seat is
//     the same for an in-app subscription, and belongs to users only.
//   - The service carries out changes later. Each request that it accepts is an
//     event, which can be asked for its status and is reported by notifications.
//   - An [Operation] is the SDK's own: one change of any size, as one or more
//     events, in as few requests as the limits of today allow.
//   - An [Outcome] is what became of one pair of an asset and a target: succeeded,
//     failed (and why), or unconfirmed (nobody knows yet, and why). A [Report] has
//     exactly one for each pair that was asked for.
//
// Success means assigned, not installed, and not even that a serial number
// exists: [Operation.Verify] reads the assignments back. Send the install
// command only after that success.
//
// # Saving and resuming
//
// [Operation.MarshalJSON] saves an operation at any moment, without secrets, and
// [Client.Resume] takes it up, in another process if need be. With [WithJournal]
// it survives a crash at any moment: what was about to be sent is then settled by
// reading back. [Operation.Step] is Wait for those who must not block.
//
// # Errors
//
// Every answer that is not a success, an error inside HTTP 200 among them, is
// an [*Error]. Ask what it means with errors.Is and the [ErrorNumber] constants,
// or with [IsAuth], [IsForbidden], [IsRetryable] and
// [IsNotFound]; they look into the errors of operations ([*OperationError]) and
// events ([*EventError]) too. Neither the token nor the ids of people are in any
// message.
//
// The service's numbers, the constants, and what to do; the
// [page for operators] says more:
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
// The SDK's own: [ErrAmbiguous], [ErrStalled] and [ErrPending] (nobody knows yet),
// [ErrNotSent] (nothing happened), [ErrNotVerified] (it is not there),
// [ErrTakenOver] (another service manages the unit), [ErrAnswerDiffers],
// [ErrRestarted] and [ErrDataChanged] (the data changed while it was read),
// [ErrNoProgress], [ErrRedirect], [ErrOtherUnit], [ErrInvalid], [ErrNoToken] and [ErrClosed].
//
// # What is tried again
//
// A call is up to five attempts (see [WithRetry]), with a random wait between
// them that grows. The rules may change in a minor release:
//
//   - Reads are repeated after network errors, cut bodies, 429 and 5xx (but 501).
//   - Any request is repeated after an error of the service that says "later"
//     (9603, 9644, 9646, 9729): such an answer proves that nothing was started.
//   - Any request is repeated when it was certainly never sent.
//   - A write that was sent and got no usable answer is not repeated. It is
//     [ErrAmbiguous]; operations settle it by reading back.
//   - A question for an event's status is not repeated when its answer was lost:
//     it may have been PENDING. The waiters ask again when it is time.
//   - Retry-After, in seconds or as a date, on 429 and any 5xx, holds back all
//     requests of the client, and of those that share its [Limiter], for a day at
//     most. A pause longer than [WithMaxPause] ends the call, with
//     Error.RetryAfter set.
//   - A wait that the context's deadline leaves no room for is not begun.
//   - Redirects, certificate errors and refusals (4xx) are final.
//   - Retries spend a budget of 100 that successes and time refill slowly, so
//     that an outage is not made worse.
//   - Beneath all that, net/http repeats a read at once when a connection that it
//     kept turns out to be closed before any of the answer came.
//
// # Pace
//
// The service names the requests that it takes in a second for an organizational
// unit (15, unless its configuration says otherwise). The client keeps to it
// exactly; several clients of one unit share a [Limiter] ([WithLimiter]). At most
// five pages are read at once, and the status of an event is asked for no sooner
// than 30 seconds after it was PENDING.
//
// # Lists and versions
//
// Each list comes as List (one page), Pages and All (iterators). Iterators
// request nothing before the loop begins, can be used again, and give an error
// as their last element ([ErrRestarted] alone is followed by more). [Collect]
// gathers what they yield.
//
// Up to five pages are read in parallel, ahead of the loop and in order; a loop
// that ends early ends its requests too. Memory is a few pages, however many
// records there are.
//
// Data can change while it is read. The pages say so (Page.Changed), and the
// walk goes on; ListOptions.Restarts begins it again instead. Users.Changes and
// Assignments.Changes read what changed since an earlier walk: its
// Page.FirstVersionID is what to keep for them.
//
// Removed assignments do not show in Changes: read everything now and then.
//
// # Notifications
//
// The service POSTs notifications to a URL of the caller, best effort: they get
// lost, come twice and in any order. A [NotificationHandler] receives them. It
// hands each to the hooks of the caller once, and acknowledges it only when they
// have returned nil. [ConfigService.Register] tells the service where it is, and
// says what is wrong if the service cannot reach it: listen first.
//
// Pass [Client.Notify] to [WithNotify], and those who wait
// for an operation or an event end as soon as it is true. The status stays the
// truth: everything works without notifications, only later.
//
// # Ownership
//
// Two services that manage the same organizational unit do damage without
// noticing. With [WithOwner], a client stops writing ([ErrTakenOver]) once an
// answer shows another service.
//
// # Many units
//
// A Client speaks for one organizational unit and costs little. Give the clients
// of a process one http.Client ([WithHTTPClient]), and those of one unit one
// [Limiter]. Meta.UID, not the token, identifies a unit. The guide is [fleet].
//
// # Logs and metrics
//
// [WithLogger] logs each attempt with names that stay. [WithTrace] reports each
// attempt to a function: all that metrics need, without a dependency.
//
// # Testing
//
// Apple offers no sandbox. Package [appsandbookstest] is a stateful stand-in for
// the service, in memory or over TCP, in real or in virtual time, with faults on
// demand. The guide is [testing].
//
// [appsandbookstest]: https://pkg.go.dev/github.com/appsandbooks/appsandbooks/appsandbookstest
// [fleet]: https://github.com/appsandbooks/appsandbooks/blob/main/docs/fleet.md
// [page for operators]: https://github.com/appsandbooks/appsandbooks/blob/main/docs/operations.md
// [testing]: https://github.com/appsandbooks/appsandbooks/blob/main/docs/testing.md
package appsandbooks

//go:generate go run ./internal/errortable
//go:generate sh -c "go run ./internal/apilist . ./appsandbookstest ./postgres > api.txt"
