//go:build unix

package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// Deliveries of one notification to several machines: one of them handles it.
func TestInboxOneMachine(t *testing.T) {
	pool, schema := fresh(t)
	var handled atomic.Int32
	fails := atomic.Int32{}
	fails.Store(2)
	var machines []*httptest.Server
	for range 3 {
		h, err := appsandbooks.NewNotificationHandler(func(context.Context, *appsandbooks.Notification) error {
			time.Sleep(10 * time.Millisecond)
			if fails.Add(-1) >= 0 {
				return fmt.Errorf("not now")
			}
			handled.Add(1)
			return nil
		},
			appsandbooks.WithDeduper(process(t, pool, schema)),
			appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret("secret")))
		require.NoError(t, err)
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		machines = append(machines, srv)
	}
	deliver := func(url string) int {
		r, _ := http.NewRequest("POST", url, bytes.NewReader([]byte(
			`{"notificationId":"n","notificationType":"ASSET_COUNT","uId":"u","notification":{"adamId":"1","countDelta":1}}`)))
		r.Header.Set("Authorization", "Bearer secret")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for round := range 3 {
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() { deliver(machines[i%3].URL) })
		}
		wg.Wait()
		require.EqualValues(t, 1, handled.Load(), "round %d", round)
	}
	require.Equal(t, 200, deliver(machines[0].URL))
}

// The claim of a machine that died is over after the lease; what it still
// tries to do is refused.
func TestInboxTakeover(t *testing.T) {
	pool, schema := fresh(t)
	dead := process(t, pool, schema, postgres.WithLease(time.Second))
	alive := process(t, pool, schema, postgres.WithLease(time.Second))
	n := &appsandbooks.Notification{ID: "n", UID: "u"}
	first, err := dead.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.True(t, first)

	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = alive.Begin(short, n.Key())
	require.ErrorIs(t, err, context.DeadlineExceeded)

	began := time.Now()
	first, err = alive.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.True(t, first)
	require.Less(t, time.Since(began), 3*time.Second)

	commit := func(s *postgres.Store) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return s.Done(t.Context(), tx, n) })
	}
	require.ErrorIs(t, commit(dead), postgres.ErrLost)
	require.NoError(t, commit(alive))
	require.ErrorIs(t, commit(alive), postgres.ErrLost) // once
	require.NoError(t, dead.End(t.Context(), n.Key(), false))
	require.NoError(t, alive.End(t.Context(), n.Key(), true))
	first, err = dead.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.False(t, first)

	// Done was committed, whatever the hook says afterwards.
	n = &appsandbooks.Notification{ID: "m", UID: "u"}
	_, err = alive.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.NoError(t, commit(alive))
	require.NoError(t, alive.End(t.Context(), n.Key(), false))
	first, err = dead.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.False(t, first)

	// A claim without Done that was lost is told.
	_, err = dead.Begin(t.Context(), "x")
	require.NoError(t, err)
	time.Sleep(1100 * time.Millisecond)
	_, err = alive.Begin(t.Context(), "x")
	require.NoError(t, err)
	require.ErrorIs(t, dead.End(t.Context(), "x", true), postgres.ErrLost)
	require.ErrorIs(t, dead.End(t.Context(), "never", true), postgres.ErrLost)
}

func TestPrune(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema, postgres.WithRetention(time.Hour))
	run(t, s)
	name := fmt.Sprintf(`"Test %d"`, schemas.Load())
	old, young := put(t, s, pool, srv, c, 1), put(t, s, pool, srv, c, 2)
	for _, q := range []string{
		`INSERT INTO %s.inbox SELECT 'k' || i, clock_timestamp() - i * interval '1 minute', 1, clock_timestamp() FROM generate_series(1, 4000) i`,
		`INSERT INTO %s.hints (at, key, uid, event, elements, body)
			SELECT clock_timestamp() - i * interval '1 second', 'k' || i, 'u', '', 0, '' FROM generate_series(1, 6000) i`,
		`INSERT INTO %s.paces SELECT 'u' || i, 15, null, clock_timestamp() - i * interval '1 minute' FROM generate_series(1, 2000) i`,
		`UPDATE %s.operations SET finished_at = clock_timestamp() - interval '2 hours' WHERE id = '` + old + `'`,
		`UPDATE %s.operations SET finished_at = clock_timestamp() WHERE id = '` + young + `'`,
	} {
		_, err := pool.Exec(t.Context(), fmt.Sprintf(q, name))
		require.NoError(t, err)
	}
	var wg sync.WaitGroup
	for range 3 { // side by side
		wg.Go(func() {
			if err := s.Prune(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for table, want := range map[string]int{"inbox": 24*60 - 1, "hints": 3599, "paces": 24*60 - 1, "operations": 1, "journal": 1} {
		var n int
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+name+`.`+table).Scan(&n))
		require.InDelta(t, want, n, 2, table)
	}
}

// waiting starts an operation that somebody waits for with one store.
func waiting(t *testing.T, s *postgres.Store, pool *pgxpool.Pool, srv *appsandbookstest.Server, c *appsandbooks.Client) (done chan error) {
	t.Helper()
	id := put(t, s, pool, srv, c, 10)
	claim, err := s.Claim(t.Context(), id)
	require.NoError(t, err)
	op, err := claim.Resume(c)
	require.NoError(t, err)
	require.NoError(t, op.Submit(t.Context()))
	done = make(chan error, 1)
	go func() {
		_, err := op.Wait(claim.Context())
		if err == nil {
			err = claim.Release(context.Background(), op, time.Time{}, nil)
		}
		done <- err
	}()
	return done
}

// slow never asks by itself during a test.
func slow(t *testing.T, srv *appsandbookstest.Server) *appsandbooks.Client {
	return clientOf(t, srv, appsandbooks.WithPolling(time.Minute, time.Minute))
}

// success is the notification that all of waiting's pairs are done.
func success(srv *appsandbookstest.Server) *appsandbooks.Notification {
	events := srv.Unit().Events()
	m := &appsandbooks.AssetManagement{EventResult: appsandbooks.EventResult{
		EventID: events[len(events)-1].ID, Result: appsandbooks.NotificationSuccess, Type: appsandbooks.EventAssociate,
	}}
	for _, s := range serials(10) {
		m.Assignments = append(m.Assignments, appsandbooks.Assignment{AssetPair: appsandbooks.AssetPair{AdamID: "1", PricingParam: "STDQ", SerialNumber: s}})
	}
	return &appsandbooks.Notification{
		ID: fmt.Sprint("n-", m.EventID), Type: appsandbooks.NotificationAssetManagement, UID: srv.Unit().UID(), AssetManagement: m,
	}
}

func TestWakeAcrossMachines(t *testing.T) {
	pool, schema := fresh(t)
	srv, _ := apple(t)
	c := slow(t, srv)
	a, b := process(t, pool, schema), process(t, pool, schema)
	run(t, a)
	run(t, b)
	time.Sleep(200 * time.Millisecond) // they listen
	var took []time.Duration
	for range 20 {
		done := waiting(t, a, pool, srv, c)
		time.Sleep(60 * time.Millisecond) // the event is carried out
		n := success(srv)
		began := time.Now()
		b.Notify(n)
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("nobody woke")
		}
		took = append(took, time.Since(began))
	}
	t.Log(took)
	slices.Sort(took)
	t.Logf("waiter on A done after the notification reached B: median %s, worst %s", took[len(took)/2], took[len(took)-1])
	require.Less(t, took[len(took)/2], 100*time.Millisecond)
}

// More than fits into one NOTIFY, and content of all sizes.
func TestWakeManyAtOnce(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	a, b := process(t, pool, schema), process(t, pool, schema)
	run(t, a)
	time.Sleep(200 * time.Millisecond)
	stop := a.Watch("u", c)
	defer stop()
	_ = srv
	for i := range 1000 { // before anybody spreads them
		m := &appsandbooks.AssetManagement{EventResult: appsandbooks.EventResult{EventID: fmt.Sprint("e", i)}}
		for range i % 100 {
			m.Assignments = append(m.Assignments, appsandbooks.Assignment{AssetPair: appsandbooks.AssetPair{AdamID: "1", SerialNumber: "C02XXXXXXXXX"}})
		}
		b.Notify(&appsandbooks.Notification{ID: fmt.Sprint(i), Type: appsandbooks.NotificationAssetManagement, UID: "u", AssetManagement: m})
	}
	run(t, b)
	name := fmt.Sprintf(`"Test %d"`, schemas.Load())
	require.Eventually(t, func() bool {
		var n int
		_ = pool.QueryRow(t.Context(), `SELECT count(*) FROM `+name+`.hints`).Scan(&n)
		return n == 1000
	}, 10*time.Second, 20*time.Millisecond)
}

// Without its connection, the listener looks by itself, and listens again.
func TestWakeSurvivesItsConnection(t *testing.T) {
	pool, schema := fresh(t)
	srv, _ := apple(t)
	c := slow(t, srv)
	a, b := process(t, pool, schema), process(t, pool, schema)
	run(t, a)
	run(t, b)
	for range 3 {
		done := waiting(t, a, pool, srv, c)
		time.Sleep(60 * time.Millisecond)
		_, err := pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'appsandbooks listen'`)
		require.NoError(t, err)
		b.Notify(success(srv))
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("nobody woke")
		}
	}
}

// An operation that nobody carries is reported when all it waits for was named.
func TestWakeOfAJobEngine(t *testing.T) {
	pool, schema := fresh(t)
	srv, _ := apple(t)
	c := slow(t, srv)
	woken := make(chan string, 10)
	a := process(t, pool, schema)
	b := process(t, pool, schema, postgres.WithWake(func(_ context.Context, ids []string) {
		for _, id := range ids {
			woken <- id
		}
	}))
	run(t, b)
	id := put(t, a, pool, srv, c, 10)
	claim, err := a.Claim(t.Context(), id)
	require.NoError(t, err)
	op, err := claim.Resume(c)
	require.NoError(t, err)
	next, err := op.Step(claim.Context())
	require.NoError(t, err)
	require.NoError(t, claim.Release(t.Context(), op, next, nil))
	require.Greater(t, time.Until(next), 30*time.Second)

	whole := success(srv)
	part := *whole
	m := *whole.AssetManagement
	m.Assignments = m.Assignments[:4]
	part.ID, part.Raw, part.AssetManagement = "part", nil, &m
	b.Notify(&part)
	b.Notify(&part)
	select {
	case <-woken:
		t.Fatal("too early")
	case <-time.After(300 * time.Millisecond):
	}
	rest := *whole
	m2 := *whole.AssetManagement
	m2.Assignments = m2.Assignments[4:]
	rest.ID, rest.Raw, rest.AssetManagement = "rest", nil, &m2
	b.Notify(&rest)
	select {
	case got := <-woken:
		require.Equal(t, id, got)
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was woken")
	}
	claim, err = a.Claim(t.Context(), id)
	require.NoError(t, err)
	op, err = claim.Resume(slow(t, srv))
	require.NoError(t, err)
	next, err = op.Step(claim.Context())
	require.NoError(t, err)
	require.True(t, next.IsZero())
	require.NoError(t, claim.Release(t.Context(), op, next, nil))
	require.Equal(t, 10, statusOf(t, a, id).Succeeded)
}

// arrivals counts requests, as the service does.
type arrivals struct {
	mu    sync.Mutex
	times []time.Time
}

func (a *arrivals) add() {
	a.mu.Lock()
	a.times = append(a.times, time.Now())
	a.mu.Unlock()
}

// most is the largest number in any one second.
func (a *arrivals) most() (most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := 0
	for i, t := range a.times {
		for t.Sub(a.times[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// hammer sends as fast as the limiter lets it, until the context ends.
func hammer(ctx context.Context, l appsandbooks.Limiter, workers int, a *arrivals) (sent int64) {
	var n atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				release, err := l.Acquire(ctx, time.Minute)
				if err != nil {
					return
				}
				a.add()
				n.Add(1)
				time.Sleep(rand.N(20 * time.Millisecond)) // the answer
				release()
			}
		})
	}
	wg.Wait()
	return n.Load()
}

func TestPaceIsShared(t *testing.T) {
	pool, schema := fresh(t)
	const rate, processes, length = 40, 3, 8 * time.Second
	var a arrivals
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	sent := make([]int64, processes)
	var wg sync.WaitGroup
	exchanges := func() (n int64) {
		_ = pool.QueryRow(t.Context(), `SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE schemaname = $1`,
			fmt.Sprintf("Test %d", schemas.Load())).Scan(&n)
		return n
	}
	for i := range processes {
		l := process(t, pool, schema).Limiter("u")
		l.SetRate(rate)
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Second) // into what is taken already
			sent[i] = hammer(ctx, l, 30, &a)
		})
	}
	wg.Wait()
	total := sent[0] + sent[1] + sent[2]
	t.Logf("sent %v of at most %d in %s, at most %d in a second of %d; %d exchanges",
		sent, int(length.Seconds())*rate, length, a.most(), rate, exchanges())
	require.LessOrEqual(t, a.most(), rate)
	require.Greater(t, float64(total), 0.75*rate*length.Seconds())
	for i, n := range sent {
		require.Greater(t, n, total/int64(3*processes), "process %d", i)
	}
}

// One request at a time costs an exchange to begin with and one to end.
func TestPaceOfFewRequests(t *testing.T) {
	pool, schema := fresh(t)
	l := process(t, pool, schema).Limiter("u")
	began := time.Now()
	for range 15 {
		release, err := l.Acquire(t.Context(), time.Minute)
		require.NoError(t, err)
		release()
	}
	require.Less(t, time.Since(began), time.Second)
	name := fmt.Sprintf(`"Test %d"`, schemas.Load())
	require.Eventually(t, func() bool { // given back
		var n int
		return pool.QueryRow(t.Context(), `SELECT count(*) FROM `+name+`.slots`).Scan(&n) == nil && n == 0
	}, 5*time.Second, 20*time.Millisecond)
}

// More processes than slots: each gets its turn.
func TestPaceInTurns(t *testing.T) {
	pool, schema := fresh(t)
	var a arrivals
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	sent := make([]int64, 5)
	for i := range sent {
		l := process(t, pool, schema).Limiter("u")
		l.SetRate(2)
		wg.Go(func() { sent[i] = hammer(ctx, l, 2, &a) })
	}
	wg.Wait()
	t.Log(sent)
	require.LessOrEqual(t, a.most(), 2)
	for i, n := range sent {
		require.NotZero(t, n, "process %d", i)
	}
}

// What a dead process held is free after its lease.
func TestPaceSurvivesADeadHolder(t *testing.T) {
	pool, schema := fresh(t)
	own, err := pgxpool.New(t.Context(), database.URL())
	require.NoError(t, err)
	dead := process(t, own, schema).Limiter("u")
	for range 15 {
		_, err := dead.Acquire(t.Context(), time.Minute)
		require.NoError(t, err)
	}
	own.Close() // and not a word more
	l := process(t, pool, schema).Limiter("u")
	began := time.Now()
	release, err := l.Acquire(t.Context(), time.Minute)
	require.NoError(t, err)
	release()
	require.Greater(t, time.Since(began), time.Second)
	require.Less(t, time.Since(began), 9*time.Second)
}

func TestPauseIsShared(t *testing.T) {
	pool, schema := fresh(t)
	a, b := process(t, pool, schema), process(t, pool, schema)
	run(t, a)
	run(t, b)
	time.Sleep(200 * time.Millisecond)
	// Both are in the middle of something.
	for _, s := range []*postgres.Store{a, b} {
		release, err := s.Limiter("u").Acquire(t.Context(), 0)
		require.NoError(t, err)
		defer release()
	}
	a.Limiter("u").Pause(2 * time.Second)
	time.Sleep(100 * time.Millisecond)
	for _, s := range []*postgres.Store{a, b, process(t, pool, schema)} {
		_, err := s.Limiter("u").Acquire(t.Context(), time.Second)
		var paused interface{ RetryAfter() time.Duration }
		require.ErrorAs(t, err, &paused)
		require.InDelta(t, 1.9, paused.RetryAfter().Seconds(), 0.4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = s.Limiter("u").Acquire(ctx, time.Minute)
		cancel()
		require.Error(t, err)
	}
	a.Limiter("u").Pause(time.Millisecond) // shortens nothing
	began := time.Now()
	release, err := b.Limiter("u").Acquire(t.Context(), time.Minute)
	require.NoError(t, err)
	release()
	_ = began
	// Another unit knows nothing of it.
	began = time.Now()
	release, err = b.Limiter("v").Acquire(t.Context(), 0)
	require.NoError(t, err)
	release()
	require.Less(t, time.Since(began), time.Second)
}
