package appsandbooks

import (
	"strings"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// kind is what an operation does: the path of its endpoint.
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

// urlKeys are the keys of the service configuration's urls.
var urlKeys = map[kind]string{
	associateAssets: "associateAssets", disassociateAssets: "disassociateAssets", revokeAssets: "revokeAssets",
	createUsers: "createUsers", updateUsers: "updateUsers", retireUsers: "retireUsers",
}

// event is the type of the kind's events.
func (k kind) eventType() EventType {
	_, verb, _ := strings.Cut(string(k), "/")
	return EventType(strings.ToUpper(verb))
}

var knownEventTypes = []EventType{EventAssociate, EventDisassociate, EventRevoke, EventCreate, EventUpdate, EventRetire}

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

// removes tells the kinds that are done when the data does not show the pair.
func (k kind) removesPairs() bool {
	switch k {
	case disassociateAssets, revokeAssets, retireUsers, disassociateSubscriptions:
		return true
	}
	return false
}
