package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// keep leases slots as long as there is something to send. One goroutine for
// each unit that is active in this process.
func (p *pace) keep() {
	for {
		p.mu.Lock()
		now := time.Now()
		p.dispatch(now)
		need := p.busy() + len(p.queue)
		if need == 0 && !p.leased {
			p.running = false
			p.mu.Unlock()
			return
		}
		next := now.Add(slotRenewal)
		earlier := func(t time.Time) {
			if t.Before(next) {
				next = t
			}
		}
		exchange := need == 0 || p.force || p.told != 0 || p.pausing
		open := !p.closed.After(now)
		if !open {
			earlier(p.closed)
		}
		if len(p.answered) > 0 {
			earlier(p.answered[0].Add(window))
		}
		if open && len(p.queue) > 0 && need > p.allowed && p.allowed < max(p.rate, 1) {
			if p.askNext.After(now) {
				earlier(p.askNext)
			} else {
				exchange = true
			}
		}
		renewal := slotRenewal
		if p.crowded {
			renewal = slotShare
		}
		if p.leased {
			if due := p.synced.Add(renewal); due.After(now) {
				earlier(due)
			} else {
				exchange = true
			}
		}
		if !p.failing.IsZero() {
			// Nothing else is worth trying before then.
			if exchange = !p.askNext.After(now); !exchange {
				next = p.askNext
			}
		}
		p.mu.Unlock()
		if exchange {
			p.exchange()
			continue
		}
		timer := time.NewTimer(max(next.Sub(now), time.Millisecond))
		select {
		case <-timer.C:
		case <-p.wake:
			timer.Stop()
		}
	}
}

// exchange tells the others what we need, and learns what we get.
func (p *pace) exchange() {
	p.mu.Lock()
	busy, waiting := p.busy(), len(p.queue)
	need := busy + waiting
	told, paused := p.told, time.Duration(0)
	if p.pausing {
		paused = max(time.Until(p.closed), 0)
	}
	p.told, p.pausing, p.force = 0, false, false
	// Twice the need, so that a growing one costs few exchanges.
	ask := 2 * need
	// What we do not report as busy may be somebody else's from the moment that
	// the database reads this, whether or not we ever see its answer.
	p.allowed = min(p.allowed, busy)
	p.mu.Unlock()

	var rate any
	if told > 0 {
		rate = told
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	began := time.Now()
	var allowed, current int
	var left float64 // seconds
	var crowded bool
	err := p.store.pool.QueryRow(ctx, p.store.sql(`
		SELECT allowed, current_rate, extract(epoch FROM pause)::float8, crowded
		FROM {schema}.share_pace($1, $2, $3, $4, $5, $6::interval, $7, $8::interval)`),
		p.unit, p.store.holder, need, ask, busy, seconds(slotLease), rate, seconds(paused)).
		Scan(&allowed, &current, &left, &crowded)

	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.synced = now
	if err != nil {
		p.told, p.pausing = max(p.told, told), p.pausing || paused > 0
		if p.failing.IsZero() {
			p.failing = began
		}
		p.asked++
		p.askNext = now.Add(backoff(p.asked))
		if now.Sub(p.failing) > outage {
			for _, w := range p.queue {
				w.ready <- fmt.Errorf("postgres: the pace cannot be shared: %w", err)
			}
			p.queue = nil
		}
		if now.After(p.until) && len(p.queue) == 0 && p.busy() == 0 {
			p.leased, p.failing = false, time.Time{} // it ends by itself
		}
		return
	}
	p.failing = time.Time{}
	p.leased = need > 0
	p.allowed, p.until = allowed, began.Add(slotLease-slotMargin)
	p.rate, p.crowded = current, crowded
	if until := now.Add(time.Duration(left * float64(time.Second))); left > 0 && until.After(p.closed) {
		p.closed = until
	}
	if allowed > busy {
		p.asked = 0
	} else {
		p.asked++
	}
	// The first questions follow a growing need; in vain, they become rare.
	p.askNext = now.Add(backoff(p.asked))
}

// backoff is 50 ms at first and half a second at last, each with jitter.
func backoff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	d := min(50*time.Millisecond<<min(n, 8), 500*time.Millisecond)
	return d/2 + rand.N(d/2)
}
