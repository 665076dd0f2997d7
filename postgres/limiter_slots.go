package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	slotLease        = 6 * time.Second
	slotMargin       = 250 * time.Millisecond // slots are not used in the last part of their lease
	slotRenewal      = 2 * time.Second
	contendedRenewal = 500 * time.Millisecond // while other processes want slots
	maxOutage        = 10 * time.Second       // requests wait so long for the database
)

// leaseSlots exchanges slots with the database while the process uses the unit. It
// returns when no request waits or holds a slot and the slots are returned. At most one
// goroutine runs it for a limiter.
func (l *Limiter) leaseSlots() {
	for {
		now := time.Now()
		wakeAt, done := l.nextExchange(now)
		switch {
		case done:
			return
		case wakeAt.IsZero():
			l.exchange()
			continue
		}
		timer := time.NewTimer(max(wakeAt.Sub(now), time.Millisecond))
		select {
		case <-timer.C:
		case <-l.changed:
			timer.Stop()
		}
	}
}

// nextExchange admits requests and then returns when leaseSlots has to act again. The
// time is zero if an exchange with the database is due now. done is true if the unit is
// no longer in use.
func (l *Limiter) nextExchange(now time.Time) (wakeAt time.Time, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit(now)
	need := l.usedSlots() + len(l.queue)
	if need == 0 && !l.registered {
		l.running = false
		return time.Time{}, true
	}
	if !l.failingSince.IsZero() { // while the database fails, only nextTry counts
		return ifLater(l.nextTry, now), false
	}
	if need == 0 || l.exchangeNow || l.newRate != 0 || l.pauseUnstored {
		return time.Time{}, false
	}
	wakeAt = now.Add(slotRenewal)
	wakeBy := func(t time.Time) {
		if t.Before(wakeAt) {
			wakeAt = t
		}
	}
	paused := l.pausedUntil.After(now)
	if paused {
		wakeBy(l.pausedUntil)
	}
	if len(l.answered) > 0 {
		wakeBy(l.answered[0].Add(window))
	}
	if !paused && len(l.queue) > 0 && need > l.slots && l.slots < max(l.rate, 1) { // more slots are useful
		if !l.nextTry.After(now) {
			return time.Time{}, false
		}
		wakeBy(l.nextTry)
	}
	if l.registered {
		renewal := l.lastExchange.Add(l.renewalInterval())
		if !renewal.After(now) {
			return time.Time{}, false
		}
		wakeBy(renewal)
	}
	return wakeAt, false
}

// ifLater returns t if it is after now, and the zero time otherwise.
func ifLater(t, now time.Time) time.Time {
	if t.After(now) {
		return t
	}
	return time.Time{}
}

func (l *Limiter) renewalInterval() time.Duration {
	if l.contended {
		return contendedRenewal
	}
	return slotRenewal
}

// usage is what a process reports in an exchange.
type usage struct {
	need  int           // slots that are used and requests that wait
	used  int           // slots that the process cannot return yet
	rate  int           // new rate of the unit, 0 if it did not change
	pause time.Duration // rest of a pause that the database does not have, or 0
}

// grant is what a process learns in an exchange.
type grant struct {
	slots     int
	rate      int
	pause     time.Duration
	contended bool
}

// exchange reports to the database what this process needs, and takes what it grants.
func (l *Limiter) exchange() {
	u := l.startExchange()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	began := time.Now()
	g, err := l.queryExchange(ctx, u)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastExchange = time.Now()
	if err != nil {
		l.exchangeFailed(u, began, err)
		return
	}
	l.failingSince = time.Time{}
	l.registered = u.need > 0
	l.slots, l.slotsUntil = g.slots, began.Add(slotLease-slotMargin)
	l.rate, l.contended = g.rate, g.contended
	if until := l.lastExchange.Add(g.pause); g.pause > 0 && until.After(l.pausedUntil) {
		l.pausedUntil = until
	}
	if g.slots > u.used {
		l.fruitless = 0
	} else {
		l.fruitless++
	}
	l.nextTry = l.lastExchange.Add(tryWait(l.fruitless))
}

// startExchange returns the usage to report, and gives up the slots that are free.
func (l *Limiter) startExchange() usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := usage{used: l.usedSlots(), rate: l.newRate}
	u.need = u.used + len(l.queue)
	if l.pauseUnstored {
		u.pause = max(time.Until(l.pausedUntil), 0)
	}
	l.newRate, l.pauseUnstored, l.exchangeNow = 0, false, false
	// As soon as the database has read the report, another process may get the slots that
	// are not in use, even if the answer of the database does not arrive here.
	l.slots = min(l.slots, u.used)
	return u
}

func (l *Limiter) queryExchange(ctx context.Context, u usage) (g grant, err error) {
	var rate any // NULL if it did not change
	if u.rate > 0 {
		rate = u.rate
	}
	wanted := 2 * u.need // more than now needed, so that a growing need costs few exchanges
	var pauseSeconds float64
	err = l.db.pool.QueryRow(ctx, l.db.sql(`
		SELECT granted, current_rate, extract(epoch FROM pause)::float8, contended
		FROM {schema}.exchange_slots($1, $2, $3, $4, $5, $6::interval, $7, $8::interval)`),
		l.unit, l.process, u.need, wanted, u.used, interval(slotLease), rate, interval(u.pause)).
		Scan(&g.slots, &g.rate, &pauseSeconds, &g.contended)
	g.pause = time.Duration(pauseSeconds * float64(time.Second))
	return g, err
}

// exchangeFailed plans the next try. After maxOutage it refuses the requests that wait.
// The caller holds the lock.
func (l *Limiter) exchangeFailed(u usage, began time.Time, err error) {
	now := l.lastExchange
	l.newRate, l.pauseUnstored = max(l.newRate, u.rate), l.pauseUnstored || u.pause > 0
	if l.failingSince.IsZero() {
		l.failingSince = began
	}
	l.fruitless++
	l.nextTry = now.Add(tryWait(l.fruitless))
	if now.Sub(l.failingSince) > maxOutage {
		for _, w := range l.queue {
			w.result <- fmt.Errorf("postgres: sharing the request rate failed: %w", err)
		}
		l.queue = nil
	}
	if now.After(l.slotsUntil) && len(l.queue) == 0 && l.usedSlots() == 0 {
		l.registered, l.failingSince = false, time.Time{} // the lease of the slots has expired
	}
}

// tryWait returns how long to wait after n fruitless exchanges in a row: nothing for n =
// 0, then 50 to 100 ms, growing to 250 to 500 ms.
func tryWait(n int) time.Duration {
	if n == 0 {
		return 0
	}
	d := min(50*time.Millisecond<<min(n, 8), 500*time.Millisecond)
	return d/2 + rand.N(d/2)
}
