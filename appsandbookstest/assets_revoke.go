package appsandbookstest

import (
	"cmp"
	"time"
)

// revokeAssets handles POST assets/revoke.
func revokeAssets(c *call) (any, *apiError) {
	var body wireManageAssets
	if refusal := c.decode(&body); refusal != nil {
		return nil, refusal
	}
	body.Assets = nil // a revoke request has no assets
	if refusal := c.checkTargets(&body, c.limits.MaxRevokeClientUserIDs, c.limits.MaxRevokeSerialNumbers); refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if refusal := u.checkUsers(body.ClientUserIDs, true); refusal != nil {
		return nil, refusal
	}
	t := newTargets(&body)
	write := Event{Type: typeRevoke, NumRequested: len(u.revocable(t))}
	e := u.accept(c, write, func(e *event, now time.Time) { u.applyRevoke(e, now, t) })
	return u.accepted(e), nil
}

// A revokedAssignment is an assignment that a revoke request removes.
type revokedAssignment struct {
	target int
	held   *assignment // the assignment to remove; nil if the target is an unknown user
}

// revocable returns the assignments that a revoke request for the targets
// removes. The lock must be held.
func (u *Unit) revocable(t *targets) []revokedAssignment {
	var out []revokedAssignment
	for i := range t.len() {
		h := u.holderOf(t, i, typeRevoke)
		if h == nil {
			if t.isUser(i) && !u.hasUser(t.id(i), true) {
				out = append(out, revokedAssignment{target: i})
			}
			continue
		}
		for _, a := range h.assignments {
			if a.asset.revocable() {
				out = append(out, revokedAssignment{target: i, held: a})
			}
		}
	}
	return out
}

// applyRevoke applies the event of a revoke request.
func (u *Unit) applyRevoke(e *event, now time.Time, t *targets) {
	list := u.revocable(t)
	e.NumRequested = len(list)
	// ids are the assets of the event's tasks. Tasks for unknown users use the first, empty element.
	ids := []wireAssetID{{}}
	products := make(map[*asset]int)
	for _, r := range list {
		if r.held != nil {
			if _, ok := products[r.held.asset]; !ok {
				products[r.held.asset] = len(ids)
				ids = append(ids, r.held.asset.wireID())
			}
		}
	}
	tasks := newTaskSet(len(ids), u.subscribed(NotificationAssetManagement))
	changes := assetChanges{assets: lazyChange{data: &u.assetData}, assignments: lazyChange{data: &u.assignmentData}}
	for _, r := range list {
		number := u.injectedFailure(e, t.id(r.target))
		if r.held == nil {
			tasks.failure(cmp.Or(number, numUserNotFound), 0, r.target)
			continue
		}
		product := products[r.held.asset]
		if number != 0 {
			tasks.failure(number, product, r.target)
			continue
		}
		u.unassign(r.held)
		changes.assignments.number()
		r.held.asset.changed = changes.assets.number()
		tasks.success(product, r.target)
	}
	u.finishAssets(e, now, tasks, ids, t)
}
