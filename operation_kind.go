package appsandbooks

import "github.com/appsandbooks/appsandbooks/internal/batch"

// A kind is the kind of change that an operation makes. Its value is the path of the endpoint.
type kind string

const (
	associateAssets           kind = "assets/associate"
	disassociateAssets        kind = "assets/disassociate"
	revokeAssets              kind = "assets/revoke"
	createUsers               kind = "users/create"
	updateUsers               kind = "users/update"
	retireUsers               kind = "users/retire"
	associateSubscriptions    kind = "subscriptions/associate"
	disassociateSubscriptions kind = "subscriptions/disassociate"
)

// kindInfo is what the SDK knows of a kind.
type kindInfo struct {
	urlKey string    // key of the URL in the service configuration; "" for subscriptions, whose URLs are not in it
	event  EventType // of the events that requests of this kind create
	// removes is true if the change removes pairs: a pair has succeeded when the service no
	// longer lists it.
	removes bool
	// uncountable is true if Apple does not document what the numbers of an event's status
	// count, so that neither a status nor notifications show that a pair is missing. The lists
	// do not show it either, and a pair is never sent again.
	uncountable bool
	inverse     kind       // the kind that undoes the change; "" if there is none
	lists       listReader // reads the lists that show the pairs

	hasAssets, hasDevices, hasUserRequests bool
	subscriptions                          bool // the assets are subscriptions

	// limits returns the largest request. For a kind without assets, or without devices, the
	// corresponding limit is 1, because the planner needs limits of at least 1.
	limits func(Limits) batch.Limits
	// body returns the value whose JSON is the body of a request.
	body func(*tables, batch.Part) any
}

// kinds has one row for each kind.
var kinds = map[kind]kindInfo{
	associateAssets: {
		urlKey: "associateAssets", event: EventAssociate, inverse: disassociateAssets,
		hasAssets: true, hasDevices: true, limits: assetLimits, body: (*tables).assetBody,
		lists: pairList[Assignment]{&assignmentList, true, activeAssignmentQuery, showActiveAssignment},
	},
	disassociateAssets: {
		urlKey: "disassociateAssets", event: EventDisassociate, removes: true, inverse: associateAssets,
		hasAssets: true, hasDevices: true, limits: assetLimits, body: (*tables).assetBody,
		lists: pairList[Assignment]{&assignmentList, true, assignmentQuery, showAssignment},
	},
	revokeAssets: {
		urlKey: "revokeAssets", event: EventRevoke, removes: true, uncountable: true,
		hasDevices: true, limits: revokeLimits, body: (*tables).targetBody,
		lists: pairList[Assignment]{&assignmentList, false, assignmentQuery, showAnyAssignment},
	},
	createUsers: {
		urlKey: "createUsers", event: EventCreate, inverse: retireUsers,
		hasUserRequests: true, limits: userLimits, body: (*tables).userBody,
		lists: pairList[User]{&userList, false, userQuery, showUpdate},
	},
	updateUsers: {
		urlKey: "updateUsers", event: EventUpdate,
		hasUserRequests: true, limits: userLimits, body: (*tables).userBody,
		lists: pairList[User]{&userList, false, userQuery, showUpdate},
	},
	retireUsers: {
		urlKey: "retireUsers", event: EventRetire, removes: true,
		limits: userLimits, body: (*tables).userBody,
		lists: pairList[User]{&userList, false, userQuery, showUser},
	},
	associateSubscriptions: {
		event: EventAssociate, inverse: disassociateSubscriptions,
		hasAssets: true, subscriptions: true, limits: subscriptionLimits, body: (*tables).seatsBody,
		lists: pairList[SubscriptionAssignment]{&subscriptionAssignmentList, true, seatQuery, showRenewingSeat},
	},
	disassociateSubscriptions: {
		event: EventDisassociate, removes: true,
		hasAssets: true, subscriptions: true, limits: subscriptionLimits, body: (*tables).seatsBackBody,
		lists: pairList[SubscriptionAssignment]{&subscriptionAssignmentList, true, seatQuery, showSeat},
	},
}

// knownEventTypes are the event types that Apple documents.
var knownEventTypes = []EventType{EventAssociate, EventDisassociate, EventRevoke, EventCreate, EventUpdate, EventRetire}

func assetLimits(l Limits) batch.Limits {
	return batch.Limits{Assets: l.MaxAssets, Users: l.MaxClientUserIDs, Devices: l.MaxSerialNumbers}
}

func revokeLimits(l Limits) batch.Limits {
	return batch.Limits{Assets: 1, Users: l.MaxRevokeClientUserIDs, Devices: l.MaxRevokeSerialNumbers}
}

func userLimits(l Limits) batch.Limits {
	return batch.Limits{Assets: 1, Users: l.MaxUsers, Devices: 1}
}

func subscriptionLimits(l Limits) batch.Limits {
	return batch.Limits{Assets: l.MaxSubscriptions, Users: l.MaxSubscriptionClientUserIDs, Devices: 1}
}
