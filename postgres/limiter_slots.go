package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	slotLease        = 6 * time.Second
	slotMargin       = 250 * time.Millisecond // a slot is not used in the last part of its lease
	slotRenewal      = 2 * time.Second
	contendedRenewal = 500 * time.Millisecond // the renewal interval while some process wants more slots
	maxOutage        = 10 * time.Second       // how long requests wait while the database cannot be reached
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
	if !l.failingSince.IsZero() { // while exchanges fail, nextTry alone decides
		return zeroIfPast(l.nextTry, now), false
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

// zeroIfPast returns t if it is after now, and the zero time otherwise.
func zeroIfPast(t, now time.Time) time.Time {
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

// usage is the report of a process to the database in an exchange of slots.
type usage struct {
	need  int           // the number of used slots and of waiting requests together
	used  int           // the number of slots that the process cannot return yet
	rate  int           // the new rate of the unit, or 0 if it did not change
	pause time.Duration // the rest of a pause that the database does not have, or 0
}

// grant is the answer of the database to a process in an exchange of slots.
type grant struct {
	slots     int
	rate      int
	pause     time.Duration
	contended bool
}

// exchange reports the usage of this process to the database, and stores the slots, the
// rate and the pause that the database returns.
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

// startExchange returns the usage to report, and stops using the slots that are free.
func (l *Limiter) startExchange() usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := usage{used: l.usedSlots(), rate: l.newRate}
	u.need = u.used + len(l.queue)
	if l.pauseUnstored {
		u.pause = max(time.Until(l.pausedUntil), 0)
	}
	l.newRate, l.pauseUnstored, l.exchangeNow = 0, false, false
	// As soon as the database has the report, another process may get the unused slots,
	// even if the answer of the database does not arrive in this process.
	l.slots = min(l.slots, u.used)
	return u
}

func (l *Limiter) queryExchange(ctx context.Context, u usage) (g grant, err error) {
	var rate any // NULL if it did not change
	if u.rate > 0 {
		rate = u.rate
	}
	wanted := 2 * u.need // twice the current need, so that a growing need costs few exchanges
	var pauseSeconds float64
	err = l.db.pool.QueryRow(ctx, l.db.sql(`
		SELECT granted, current_rate, extract(epoch FROM pause)::float8, contended
		FROM {schema}.exchange_slots($1, $2, $3, $4, $5, $6::interval, $7, $8::interval)`),
		l.unit, l.process, u.need, wanted, u.used, interval(slotLease), rate, interval(u.pause)).
		Scan(&g.slots, &g.rate, &pauseSeconds, &g.contended)
	g.pause = time.Duration(pauseSeconds * float64(time.Second))
	return g, err
}

// exchangeFailed plans the next exchange after one that failed. If exchanges have failed
// for longer than maxOutage, it refuses the waiting requests. The caller holds the lock.
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

// tryWait returns how long to wait after n exchanges in a row that brought no free slot:
// nothing for n = 0, then 50 to 100 ms, growing to 250 to 500 ms.
func tryWait(n int) time.Duration {
	if n == 0 {
		return 0
	}
	d := min(50*time.Millisecond<<min(n, 8), 500*time.Millisecond)
	return d/2 + rand.N(d/2)
}
