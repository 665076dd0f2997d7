package appsandbookstest

import (
	"cmp"
	"time"
)

// revokeAssets answers POST assets/revoke.
func revokeAssets(c *call) (any, *apiError) {
	var body wireManageAssets
	if refusal := c.decode(&body); refusal != nil {
		return nil, refusal
	}
	body.Assets = nil // a field that this request does not have
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

// A revocation is one assignment that a revoke request takes away.
type revokedAssignment struct {
	target int
	held   *assignment // nil: the target is unknown
}

// revocable returns what a revoke request takes away. The lock is held.
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

// applyRevoke carries out an event of revoke.
func (u *Unit) applyRevoke(e *event, now time.Time, t *targets) {
	list := u.revocable(t)
	e.NumRequested = len(list)
	ids := []wireAssetID{{}} // the products that are concerned; the first is none
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
