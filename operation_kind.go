package appsandbooks

import (
	"strings"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

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

// urlKeys maps a kind to the key of its URL in the service configuration. The URLs
// of subscriptions are not in the configuration.
var urlKeys = map[kind]string{
	associateAssets: "associateAssets", disassociateAssets: "disassociateAssets", revokeAssets: "revokeAssets",
	createUsers: "createUsers", updateUsers: "updateUsers", retireUsers: "retireUsers",
}

// eventType returns the type of the events that requests of this kind create.
func (k kind) eventType() EventType {
	_, verb, _ := strings.Cut(string(k), "/")
	return EventType(strings.ToUpper(verb))
}

// knownEventTypes are the event types that Apple documents.
var knownEventTypes = []EventType{EventAssociate, EventDisassociate, EventRevoke, EventCreate, EventUpdate, EventRetire}

// limits returns the largest request of this kind. For a kind without assets, or
// without devices, the corresponding limit is 1, because the planner needs limits of
// at least 1.
func (k kind) limits(l Limits) batch.Limits {
	switch k {
	case associateAssets, disassociateAssets:
		return batch.Limits{Assets: l.MaxAssets, Users: l.MaxClientUserIDs, Devices: l.MaxSerialNumbers}
	case revokeAssets:
		return batch.Limits{Assets: 1, Users: l.MaxRevokeClientUserIDs, Devices: l.MaxRevokeSerialNumbers}
	case associateSubscriptions, disassociateSubscriptions:
		return batch.Limits{Assets: l.MaxSubscriptions, Users: l.MaxSubscriptionClientUserIDs, Devices: 1}
	default:
		return batch.Limits{Assets: 1, Users: l.MaxUsers, Devices: 1}
	}
}

// removesPairs reports whether operations of this kind remove pairs. A pair of such
// an operation has succeeded when the service no longer lists it.
func (k kind) removesPairs() bool {
	switch k {
	case disassociateAssets, revokeAssets, retireUsers, disassociateSubscriptions:
		return true
	}
	return false
}
