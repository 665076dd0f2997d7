package appsandbookstest

import "slices"

// getStatus answers GET status.
func getStatus(c *call) (any, *apiError) {
	id := c.query.Get("eventId")
	u := c.unit
	u.lock()
	defer u.mu.Unlock()
	e := u.eventByID[id]
	if e == nil {
		return nil, refuse(numEventNotFound)
	}
	if e.Status == EventPending {
		c.pending = e.ID
	}
	return wireStatus{
		wireCommon:   u.common(),
		EventStatus:  e.Status,
		EventType:    e.Type,
		Failures:     slices.Clone(e.failures),
		NumCompleted: e.NumCompleted,
		NumRequested: e.NumRequested,
	}, nil
}
