//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/errgroup"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
	"github.com/appsandbooks/appsandbooks/postgres/postgrestest"
)

// proof is a run of a whole fleet on this machine: a stand-in for Apple's service
// that breaks requests and loses notifications, a load balancer, workers that
// are killed and started again, a database that is killed once; and at the end,
// the books of all sides compared.
type proof struct {
	db      string // empty: a server of our own, which is killed once
	out     io.Writer
	logs    string // directory for the workers' logs; empty: a temporary one
	units   int
	pairs   int // in all
	workers int
	kills   int
	rate    int // requests a second of each unit
	poll    time.Duration
	limit   time.Duration // for all of it
	seed    uint64
}

func defaultProof() proof {
	return proof{units: 50, pairs: 50_000, workers: 3, kills: 6, rate: 15, poll: 6 * time.Second, limit: 4 * time.Minute, seed: 1}
}

func (c *proof) flags(f *flag.FlagSet) {
	f.IntVar(&c.units, "units", c.units, "organizational units")
	f.IntVar(&c.pairs, "pairs", c.pairs, "pairs of licence and device, in all")
	f.IntVar(&c.workers, "processes", c.workers, "worker processes")
	f.IntVar(&c.kills, "kills", c.kills, "how often one of them is killed")
	f.IntVar(&c.rate, "rate", c.rate, "requests a second that the service takes from a unit")
	f.DurationVar(&c.poll, "poll", c.poll, "between two looks at an event")
	f.DurationVar(&c.limit, "limit", c.limit, "when to give up")
	f.Uint64Var(&c.seed, "seed", c.seed, "of faults and kills")
	f.StringVar(&c.logs, "logs", c.logs, "directory for the workers' logs")
}

// result is what came out.
type result struct {
	took                                    time.Duration
	operations                              int
	pairs, succeeded, failed, unconfirmed   int
	requests, faults, looks, notifications  int
	delivered, kills                        int
	commits, wal                            int64         // commits only while the database lived
	closest                                 time.Duration // of two looks at an event
	wrong, tooSoon, tooFast, twice, missing []string
	stuck, told, details                    []string
	others                                  map[appsandbookstest.Rule]int
}

func (r *result) check() error {
	var errs []error
	for what, list := range map[string][]string{
		"pairs differ from the ledger":                        r.wrong,
		"looks came too soon":                                 r.tooSoon,
		"seconds had too many requests":                       r.tooFast,
		"notifications were handled twice":                    r.twice,
		"notifications were acknowledged and are not handled": r.missing,
		"jobs or operations are stuck":                        r.stuck,
		"secrets were printed":                                r.told,
	} {
		if len(list) > 0 {
			errs = append(errs, fmt.Errorf("%d %s: %s", len(list), what, strings.Join(list[:min(3, len(list))], "; ")))
		}
	}
	return errors.Join(errs...)
}

func (r *result) String() string {
	return fmt.Sprintf(`%d operations of %d pairs in %s: %d succeeded, %d failed, %d unconfirmed
%d requests, of which %d were broken; %d looks at events, the closest two of one event %s apart
%d notifications delivered, %d handled; %d kills
%d commits (since the database was started last), %d MB of write-ahead log
violations of other rules: %v`,
		r.operations, r.pairs, r.took.Round(time.Second), r.succeeded, r.failed, r.unconfirmed,
		r.requests, r.faults, r.looks, r.closest.Round(time.Millisecond),
		r.delivered, r.notifications, r.kills, r.commits, r.wal>>20, r.others)
}

func prove(ctx context.Context, c proof) (r *result, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	say := func(format string, args ...any) {
		if c.out != nil {
			fmt.Fprintf(c.out, time.Now().Format("15:04:05 ")+format+"\n", args...)
		}
	}
	dir, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if c.logs == "" {
		c.logs = dir
	}
	s := settings{db: c.db, vendor: filepath.Join(dir, "vendor.json")}
	var database *postgrestest.Server
	if s.db == "" {
		if database, err = postgrestest.Start(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, database.Stop()) }()
		s.db = database.URL()
		say("a PostgreSQL server of our own: %s", s.db)
	}
	if err := migrate(ctx, s); err != nil {
		return nil, err
	}

	// Apple's side.
	limits := appsandbookstest.DefaultLimits()
	limits.MaxAssets, limits.MaxSerialNumbers, limits.MaxRequestPerSecond = 4, 25, c.rate
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(c.seed, 1))
	srv, err := appsandbookstest.NewServer(
		appsandbookstest.WithSeed(c.seed), appsandbookstest.WithLimits(limits), appsandbookstest.WithRequestLog(1_000_000),
		appsandbookstest.WithLatency(10*time.Millisecond),
		appsandbookstest.WithEventDelayFunc(func(appsandbookstest.Event) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return time.Duration(random.Int64N(int64(3 * time.Second)))
		}),
		appsandbookstest.WithNotifications(appsandbookstest.NotificationOptions{
			Loss: 0.03, Duplicate: 0.1, Reorder: 0.2, ReorderWindow: 2 * time.Second, RetryInterval: 4 * time.Second,
		}),
	)
	if err != nil {
		return r, err
	}
	defer srv.Close()
	if err := srv.Listen(""); err != nil {
		return nil, err
	}
	units := []*appsandbookstest.Unit{srv.Unit()}
	for i := 1; i < c.units; i++ {
		units = append(units, srv.NewUnit(fmt.Sprint("Unit ", i)))
	}
	v := &vendor{BaseURL: srv.URL(), Secret: fmt.Sprintf("secret-%d-0123456789", c.seed), Tokens: map[string]string{}}
	for _, u := range units {
		v.Tokens[u.UID()] = u.Token()
		for a := range 5 {
			u.AddAsset(appsandbookstest.Asset{AdamID: fmt.Sprint(a + 1), Total: 10_000_000})
		}
	}
	if err := v.write(s.vendor); err != nil {
		return nil, err
	}

	// The machines, and a load balancer before them.
	fleet := &machines{proof: c, settings: s, say: say}
	defer fleet.stop()
	for range c.workers {
		if err := fleet.add(); err != nil {
			return nil, err
		}
	}
	balancer, err := fleet.balance(random, &mu)
	if err != nil {
		return nil, err
	}
	defer balancer.Close()
	if err := fleet.ready(ctx); err != nil {
		return nil, err
	}

	pool, err := connect(ctx, s.db)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	store, err := postgres.New(pool)
	if err != nil {
		return nil, err
	}
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		return nil, err
	}
	all := &clients{vendor: v, store: store}

	say("%d units register for notifications", c.units)
	var group errgroup.Group
	group.SetLimit(8)
	for _, u := range units {
		group.Go(func() error {
			client, err := all.of(u.UID())
			if err != nil {
				return err
			}
			_, err = client.Config.Register(ctx, appsandbooks.Registration{
				NotificationURL: "http://" + balancer.Addr().String() + "/notifications", NotificationAuthToken: appsandbooks.NewSecret(v.Secret),
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	began := time.Now()
	var lsn string
	var commits int64
	if err := pool.QueryRow(ctx, `SELECT pg_current_wal_lsn()::text, xact_commit FROM pg_stat_database WHERE datname = current_database()`).
		Scan(&lsn, &commits); err != nil {
		return nil, err
	}
	faults(srv, units)

	// Each unit: one large change and four small ones, with devices that fail.
	say("%d pairs are ordered", c.pairs)
	planned := map[string]int{}
	for i, u := range units {
		total := c.pairs / c.units
		if i < c.pairs%c.units {
			total++
		}
		group.Go(func() error {
			for part := range 5 {
				o := order{uid: u.UID()}
				n := total / 20 // small: one asset
				o.assets = []string{"1"}
				if part == 0 { // large: four assets
					o.assets = []string{"1", "2", "3", "4"}
					n = (total - 4*(total/20)) / 4
				}
				for d := range n {
					serial := fmt.Sprintf("C%02d%07d", part, d)
					if d%97 == 13 {
						u.FailTarget(serial, 9603)
					}
					o.devices = append(o.devices, serial)
				}
				if n == 0 {
					continue
				}
				id, err := enqueue(ctx, pool, store, jobs, all, o)
				if err != nil {
					return err
				}
				mu.Lock()
				planned[id] = i
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}

	// Trouble, while they work.
	trouble, calm := context.WithCancel(ctx)
	defer calm()
	var troubled sync.WaitGroup
	troubled.Go(func() { fleet.trouble(trouble, database) })

	for last := -1; ; {
		var open, pairs int
		for o, err := range store.Operations(ctx, "", true) {
			if err != nil {
				open = -1 // the database is away
				break
			}
			open++
			pairs += o.Pairs - o.Succeeded - o.Failed
		}
		if open == 0 {
			break
		}
		if open != last && open > 0 {
			say("%d operations are not finished; %d pairs to go", open, pairs)
			last = open
		}
		if sleep(ctx, time.Second) != nil {
			break
		}
	}
	took := time.Since(began)
	calm()
	troubled.Wait()
	// What is still on its way: notifications, and jobs of finished operations.
	ctx = context.WithoutCancel(ctx)
	settled := time.Now().Add(15 * time.Second)
	for time.Now().Before(settled) {
		var n int
		if pool.QueryRow(ctx, `SELECT count(*) FROM river_job WHERE state <> 'completed'`).Scan(&n) == nil && n == 0 {
			break
		}
		_ = sleep(ctx, 250*time.Millisecond)
	}
	srv.ClearFaults()
	fleet.stop()
	r, err = audit(ctx, c, srv, units, pool, store, all, planned)
	if err != nil {
		return nil, err
	}
	if r.told, err = fleet.told(v); err != nil {
		return nil, err
	}
	r.took, r.kills = took, fleet.kills
	_ = pool.QueryRow(ctx, `SELECT xact_commit, pg_current_wal_lsn() - $1::pg_lsn FROM pg_stat_database WHERE datname = current_database()`,
		lsn).Scan(&r.commits, &r.wal)
	r.commits -= commits
	say("%s", r)
	for _, d := range r.details[:min(10, len(r.details))] {
		say("  %s", d)
	}
	return r, r.check()
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// faults is what happens to a request here and there.
func faults(srv *appsandbookstest.Server, units []*appsandbookstest.Unit) {
	for _, u := range units { // somebody between repeats what it was sent
		sent := "you sent Authorization: Bearer " + u.Token()
		for _, f := range []appsandbookstest.Fault{
			{Path: "assets/associate", Status: 500, Body: `{"errorNumber":9603,"errorMessage":"` + sent + `"}`, Probability: 0.01},
			{Path: "assets/associate", Status: 502, Body: "<html>" + sent, Probability: 0.01},
			{Path: "status", Status: 503, Body: "<html>" + sent, Probability: 0.02},
		} {
			f.Unit = u
			srv.AddFault(f)
		}
	}
	for _, f := range []appsandbookstest.Fault{
		{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Probability: 0.01},
		{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Probability: 0.01},
		{Path: "assets/associate", Kind: appsandbookstest.FaultCutBody, Probability: 0.01},
		{Path: "assets/associate", Number: 9646, Probability: 0.01},
		{Path: "assets/associate", Number: 9603, Header: http.Header{"Retry-After": {"1"}}, Probability: 0.005},
		// Not FaultResetAfter: over HTTP/1.1 net/http itself repeats a GET whose
		// connection breaks before the first byte of the answer.
		{Path: "status", Kind: appsandbookstest.FaultEOF, Probability: 0.02},
		{Path: "status", Kind: appsandbookstest.FaultCutBody, Probability: 0.02},
		{Path: "assignments", Kind: appsandbookstest.FaultCutBody, Probability: 0.05},
	} {
		srv.AddFault(f)
	}
}

// audit compares the books.
func audit(ctx context.Context, c proof, srv *appsandbookstest.Server, units []*appsandbookstest.Unit,
	pool *pgxpool.Pool, store *postgres.Store, all *clients, planned map[string]int,
) (*result, error) {
	r := &result{others: map[appsandbookstest.Rule]int{}, operations: len(planned), closest: time.Hour}
	for o, err := range store.Operations(ctx, "", false) {
		if err != nil {
			return nil, err
		}
		if o.State != "done" {
			r.stuck = append(r.stuck, fmt.Sprintf("operation %s of unit %s is %s: %s", o.ID, o.Unit, o.State, o.Problem))
		}
	}
	for id, i := range planned {
		u := units[i]
		client, err := all.of(u.UID())
		if err != nil {
			return nil, err
		}
		saved, err := store.Load(ctx, id)
		if err != nil {
			return nil, err
		}
		op, err := client.Resume(saved)
		if err != nil {
			return nil, err
		}
		report := op.Report()
		r.pairs += report.Total
		r.succeeded += report.Succeeded
		r.failed += report.Failed
		r.unconfirmed += report.Unconfirmed
		for o := range report.Outcomes() {
			there := u.HasAssignment(appsandbookstest.Assignment{
				AdamID: o.AdamID, PricingParam: string(o.PricingParam), SerialNumber: o.SerialNumber,
			})
			if o.Status == appsandbooks.OutcomeUnconfirmed || there != (o.Status == appsandbooks.OutcomeSucceeded) {
				r.wrong = append(r.wrong, fmt.Sprintf("%s %s of operation %s is %s (%v), in the ledger: %v", o.AdamID, o.SerialNumber, id, o.Status, o.Err, there))
			}
		}
	}
	if r.pairs != c.pairs {
		r.wrong = append(r.wrong, fmt.Sprintf("%d pairs were ordered, and %d are accounted for", c.pairs, r.pairs))
	}

	asked := map[string]time.Time{} // of the last look, whether or not its answer arrived
	for _, q := range srv.Requests() {
		r.requests++
		if q.Fault != "" {
			r.faults++
		}
		if q.Path != "status" {
			continue
		}
		r.looks++
		event := q.Query.Get("eventId")
		if last, ok := asked[event]; ok {
			apart := q.Time.Sub(last)
			r.closest = min(r.closest, apart)
			if apart < c.poll {
				r.tooSoon = append(r.tooSoon, fmt.Sprintf("event %s after %s", event, apart))
			}
		}
		asked[event] = q.Time
	}
	for _, violation := range srv.Violations() {
		switch violation.Rule {
		case appsandbookstest.RuleRequestRate:
			r.tooFast = append(r.tooFast, violation.Detail)
		case appsandbookstest.RulePollInterval: // has 30 s; ours is above
		default:
			r.others[violation.Rule]++
			r.details = append(r.details, violation.String())
		}
	}

	rows, err := pool.Query(ctx, `SELECT key, count(*) FROM fleet_notifications GROUP BY key`)
	if err != nil {
		return nil, err
	}
	handled := map[string]bool{}
	var key string
	var times int
	if _, err := pgx.ForEachRow(rows, []any{&key, &times}, func() error {
		handled[key] = true
		r.notifications++
		if times > 1 {
			r.twice = append(r.twice, key)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, d := range srv.Deliveries() {
		if d.Status/100 != 2 || d.NotificationType == appsandbookstest.NotificationTest {
			continue
		}
		r.delivered++
		if !handled[d.Unit+"/"+d.NotificationID] {
			r.missing = append(r.missing, d.NotificationID)
		}
	}

	rows, err = pool.Query(ctx, `SELECT state || ' ' || args::text FROM river_job WHERE state <> 'completed'`)
	if err != nil {
		return nil, err
	}
	stuck, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	r.stuck = append(r.stuck, stuck...)
	return r, nil
}

// machines are the worker processes.
type machines struct {
	proof
	settings
	say func(string, ...any)

	mu    sync.Mutex
	all   []*machine
	kills int
	over  bool
}

type machine struct {
	name string
	addr string
	cmd  *exec.Cmd
	done chan struct{}
}

func (m *machines) add() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	x := &machine{name: fmt.Sprint("worker-", len(m.all)), addr: l.Addr().String()}
	m.all = append(m.all, x)
	return nil
}

// start runs the worker's program, which is this one.
func (m *machines) start(x *machine) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(m.logs, x.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(self, "worker", "-vendor", m.vendor, "-listen", x.addr,
		"-first-look", "1s", "-poll", m.poll().String(), "-lease", "12s", "-timeout", "15s")
	cmd.Env = append(os.Environ(), "FLEET_MAIN=1", "DATABASE_URL="+m.settings.db)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	x.cmd, x.done = cmd, done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	return nil
}

func (m *machines) poll() time.Duration { return m.proof.poll }

// ready starts all, and waits until they listen.
func (m *machines) ready(ctx context.Context) error {
	for _, x := range m.all {
		if err := m.start(x); err != nil {
			return err
		}
	}
	for _, x := range m.all {
		for {
			conn, err := net.DialTimeout("tcp", x.addr, time.Second)
			if err == nil {
				conn.Close()
				break
			}
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				text, _ := os.ReadFile(filepath.Join(m.logs, x.name+".log"))
				return fmt.Errorf("%s does not start:\n%s", x.name, text)
			}
		}
	}
	return nil
}

// trouble kills workers at random, starts them again, and kills the database once.
func (m *machines) trouble(ctx context.Context, database *postgrestest.Server) {
	random := rand.New(rand.NewPCG(m.seed, 2))
	for i := range m.proof.kills {
		if sleep(ctx, 2*time.Second+time.Duration(random.Int64N(int64(4*time.Second)))) != nil {
			return
		}
		if i == m.proof.kills/2 && database != nil {
			m.say("the database is killed")
			if err := database.Kill(); err != nil {
				m.say("%v", err)
			}
			_ = sleep(ctx, 2*time.Second)
			if err := database.Resume(); err != nil {
				m.say("%v", err)
			}
			m.say("the database is back")
		}
		x := m.all[random.IntN(len(m.all))]
		m.say("kill -9 %s", x.name)
		_ = x.cmd.Process.Kill()
		<-x.done
		m.mu.Lock()
		m.kills++
		m.mu.Unlock()
		_ = sleep(ctx, time.Second)
		if err := m.start(x); err != nil {
			m.say("%v", err)
		}
	}
}

// stop ends all workers, in good order.
func (m *machines) stop() {
	m.mu.Lock()
	m.over = true
	m.mu.Unlock()
	for _, x := range m.all {
		if x.cmd == nil {
			continue
		}
		_ = x.cmd.Process.Signal(os.Interrupt)
	}
	for _, x := range m.all {
		if x.cmd == nil {
			continue
		}
		select {
		case <-x.done:
		case <-time.After(20 * time.Second):
			m.say("%s does not end", x.name)
			_ = x.cmd.Process.Kill()
			<-x.done
		}
	}
}

// told looks for secrets in what the workers printed. Half a token is too much.
func (m *machines) told(v *vendor) (found []string, err error) {
	for _, x := range m.all {
		text, err := os.ReadFile(filepath.Join(m.logs, x.name+".log"))
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(text, []byte("msg=ready")) {
			return nil, fmt.Errorf("%s printed nothing", x.name)
		}
		for uid, token := range v.Tokens {
			if bytes.Contains(text, []byte(token[:len(token)/2])) {
				found = append(found, fmt.Sprintf("the token of unit %s, of %s", uid, x.name))
			}
		}
		if bytes.Contains(text, []byte(v.Secret)) {
			found = append(found, "the notification secret, of "+x.name)
		}
	}
	return found, nil
}

// balance is a load balancer that sends each request to any of the machines,
// whether it is alive or not.
func (m *machines) balance(random *rand.Rand, mu *sync.Mutex) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			mu.Lock()
			x := m.all[random.IntN(len(m.all))]
			mu.Unlock()
			r.SetURL(&url.URL{Scheme: "http", Host: x.addr})
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second, ErrorLog: proxy.ErrorLog}
	go func() { _ = srv.Serve(l) }()
	return l, nil
}
