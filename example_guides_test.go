package appsandbooks_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// README.md

func quickStart(ctx context.Context, stoken string, serials []string) error {
	client, err := appsandbooks.NewClient(stoken) // the content of the .vpptoken file
	if err != nil {
		return err
	}
	defer client.Close()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		SerialNumbers: serials, // any number of them
	})
	if err != nil {
		return err // there is no operation, and nothing was sent
	}
	report, err := op.Wait(ctx) // returns when nothing more can be learned now; op.Next says whether to wait again
	for o := range report.Problems() {
		log.Println(o.SerialNumber, o.Status, o.Err)
	}
	return err // the error is nil only if every pair succeeded
}

// The quick start of README.md returns when its context is canceled.
func TestAssetsService_Associate_quickStartCompilesAndEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // without cancel the call would go to Apple
	require.ErrorIs(t, quickStart(ctx, "dG9rZW4=", []string{"C02XL0GYJGH5"}), context.Canceled)
}

// The example test in README.md, which uses a stand-in, succeeds.
func TestAssetsService_Associate_succeedsAgainstStandIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
		if err != nil {
			log.Fatal(err)
		}
		defer srv.Close()
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
		client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()))
		require.NoError(t, err)
		defer client.Close()
		require.NoError(t, onEnrollment(t.Context(), client, "C02XL0GYJGH5"))
	})
}

func Example_report() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}}, // three licenses
		SerialNumbers: []string{"C02XL0GYJGH5", "DMPXK1YQJF8J", "F9FX2Q8JHG7F", "G6TZ1A2BCDEF"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, err := op.Wait(ctx)
	fmt.Println(report)
	for o := range report.Problems() {
		fmt.Println(o.AdamID, o.SerialNumber, o.Status, o.Err)
	}
	fmt.Println("buy more:", errors.Is(err, appsandbooks.ErrNotEnoughLicenses))
	// Output:
	// assets/associate: 3 of 4 succeeded, 1 failed
	// 361309726 G6TZ1A2BCDEF failed not enough licenses (9709): There are not enough licenses available. [assets: 1, serialNumbers: 1]
	// buy more: true
}

// docs/nanomdm.md

// installApp assigns a license of an app to each device, and waits for the results.
// Then it sends the install command to each device that has a license. The keys of
// udids are serial numbers.
func installApp(ctx context.Context, client *appsandbooks.Client, mdm nanoMDM, adamID string, udids map[string]string) error {
	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: adamID}},
		SerialNumbers: slices.Collect(maps.Keys(udids)),
	})
	if err != nil {
		return err // no license was assigned
	}
	report, err := op.Wait(ctx)
	for o := range report.Outcomes() {
		if o.Status == appsandbooks.OutcomeSucceeded {
			err = errors.Join(err, mdm.install(ctx, udids[o.SerialNumber], adamID))
		}
	}
	return err // the error also names the devices without a license
}

type nanoMDM struct{ url, apiKey string }

func (m nanoMDM) install(ctx context.Context, udid, adamID string) error {
	command := fmt.Sprintf(installApplication, adamID, rand.Text())
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, m.url+"/v1/enqueue/"+udid, strings.NewReader(command))
	if err != nil {
		return err
	}
	req.SetBasicAuth("nanomdm", m.apiKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("enqueue for %s: %s", udid, resp.Status)
	}
	return nil
}

const installApplication = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
	<key>Command</key><dict>
		<key>RequestType</key><string>InstallApplication</string>
		<key>iTunesStoreID</key><integer>%s</integer>
		<key>ManagementFlags</key><integer>1</integer>
		<key>Options</key><dict><key>PurchaseMethod</key><integer>1</integer></dict>
	</dict>
	<key>CommandUUID</key><string>%s</string>
</dict></plist>`

// The function installApp sends the install command only to the devices that got a license.
func TestReport_Outcomes_selectsDevicesForInstallation(t *testing.T) {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	var mu sync.Mutex
	var installed []string
	mdm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, key, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPut || user+key != "nanomdm"+"api-key" || !strings.Contains(string(body), "<integer>361309726</integer>") {
			w.WriteHeader(http.StatusBadRequest)
		}
		mu.Lock()
		defer mu.Unlock()
		installed = append(installed, r.URL.Path)
	}))
	defer mdm.Close()
	err := installApp(t.Context(), client, nanoMDM{mdm.URL, "api-key"}, "361309726",
		map[string]string{"SN1": "udid-1", "SN2": "udid-2", "SN3": "udid-3", "SN4": "udid-4"})
	require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
	require.Len(t, installed, 3)
	for _, path := range installed {
		require.Regexp(t, `^/v1/enqueue/udid-\d$`, path)
	}
}

// docs/fleet.md

// fleet holds one Client for each organizational unit, by the uId of the unit.
type fleet struct {
	http  *http.Client // all clients share the transport of http
	mu    sync.RWMutex
	units map[string]*appsandbooks.Client
}

func newFleet() *fleet {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 100
	return &fleet{http: &http.Client{Transport: t}, units: map[string]*appsandbooks.Client{}}
}

// add adds a content token to the fleet. Tokens of one unit that different people have
// downloaded share one client.
func (f *fleet) add(ctx context.Context, stoken string, opts ...appsandbooks.Option) (uid string, err error) {
	client, err := appsandbooks.NewClient(stoken, append(opts, appsandbooks.WithHTTPClient(f.http))...)
	if err != nil {
		return "", err
	}
	// ClientConfig returns the uId, or an error if the token cannot be used.
	config, err := client.Config.ClientConfig(ctx)
	if err != nil {
		client.Close()
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.units[config.UID] != nil {
		client.Close()
		return config.UID, nil
	}
	f.units[config.UID] = client
	return config.UID, nil
}

// client returns the client of a unit, or nil if the unit is not in the fleet.
func (f *fleet) client(uid string) *appsandbooks.Client {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.units[uid]
}

// receiver passes the notifications of all units to their clients.
func (f *fleet) receiver(secrets ...appsandbooks.Secret) (http.Handler, error) {
	return appsandbooks.NewNotificationHandler(
		func(ctx context.Context, n *appsandbooks.Notification) error {
			if n.AssetCount != nil {
				// store returns before the handler acknowledges the notification.
				return store(ctx, n.UID, n.AssetCount)
			}
			return nil
		},
		appsandbooks.WithNotificationSecrets(secrets...),
		appsandbooks.WithNotify(func(n *appsandbooks.Notification) {
			if c := f.client(n.UID); c != nil {
				c.Notify(n)
			}
		}),
	)
}

func store(context.Context, string, *appsandbooks.AssetCount) error { return nil }

// ClientConfig returns the same uId for all tokens of a unit, so that the fleet has one
// client for each unit.
func TestConfigService_ClientConfig_identifiesUnitOfToken(t *testing.T) {
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	require.NoError(t, err)
	defer srv.Close()
	require.NoError(t, srv.Listen(""))
	f := newFleet()
	at := appsandbooks.WithBaseURL(srv.URL())
	for _, name := range []string{"North", "South"} {
		unit := srv.NewUnit(name)
		for _, token := range []string{unit.Token(), unit.AddToken()} {
			uid, err := f.add(t.Context(), token, at)
			require.NoError(t, err)
			require.Equal(t, unit.UID(), uid)
		}
	}
	require.Len(t, f.units, 2)
	_, err = f.receiver(appsandbooks.NewSecret(""))
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	_, err = f.receiver(appsandbooks.NewSecret("the-secret-of-all-units"))
	require.NoError(t, err)
	for _, c := range f.units {
		c.Close()
	}
	f.http.CloseIdleConnections()
}

// docs/testing.md

// onEnrollment is an example of code under test. It assigns an app to a new device.
func onEnrollment(ctx context.Context, client *appsandbooks.Client, serial string) error {
	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		SerialNumbers: []string{serial},
	})
	if err != nil {
		return err
	}
	_, err = op.Wait(ctx)
	return err
}

// The function onEnrollment assigns the app to a device, and returns ErrNotEnoughLicenses
// when no license is left.
func TestAssetsService_Associate_assignsOnEnrollment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(42 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		unit := srv.Unit()
		unit.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 1})
		client, err := appsandbooks.NewClient(unit.Token(), appsandbooks.WithHTTPClient(srv.Client()))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()

		if err := onEnrollment(t.Context(), client, "C02XL0GYJGH5"); err != nil {
			t.Error(err)
		}
		if !unit.HasAssignment(appsandbookstest.Assignment{AdamID: "361309726", SerialNumber: "C02XL0GYJGH5"}) {
			t.Error("the stand-in has no such assignment")
		}
		if err := onEnrollment(t.Context(), client, "DMPXK1YQJF8J"); !errors.Is(err, appsandbooks.ErrNotEnoughLicenses) {
			t.Errorf("two devices, one license: %v", err)
		}
		for _, v := range srv.Violations() {
			t.Error(v) // a violation, for example: the status of an event was polled too often
		}
	})
}

// The function onEnrollment succeeds after faults that the SDK handles, and returns the
// error of a fault that the SDK cannot handle.
func TestAssetsService_Associate_handlesFaultsOnEnrollment(t *testing.T) {
	for name, test := range map[string]struct {
		fault func(srv *appsandbookstest.Server)
		want  error
	}{
		"a pause of two minutes": {func(srv *appsandbookstest.Server) {
			srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"120"}}, Times: 1})
		}, nil},
		"the answer to the write gets lost": {func(srv *appsandbookstest.Server) {
			srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Times: 1})
		}, nil}, // the operation reads the assignments back
		"the event fails": {func(srv *appsandbookstest.Server) {
			srv.Unit().FailNextEvent(9603)
		}, appsandbooks.ErrInternal},
		"the token is replaced": {func(srv *appsandbookstest.Server) {
			srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)
		}, appsandbooks.ErrTokenRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, err := appsandbookstest.NewServer()
				if err != nil {
					t.Fatal(err)
				}
				defer srv.Close()
				srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 1})
				client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()))
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				test.fault(srv)
				if err := onEnrollment(t.Context(), client, "C02XL0GYJGH5"); !errors.Is(err, test.want) {
					t.Error(err)
				}
			})
		})
	}
}

// The notification handler receives the ASSET_COUNT notification of a purchase.
func TestNotificationHandler_receivesPurchase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		received := make(chan *appsandbooks.Notification, 1)
		secret := appsandbooks.NewSecret("a-secret-of-16-bytes")
		handler, err := appsandbooks.NewNotificationHandler(
			func(_ context.Context, n *appsandbooks.Notification) error {
				received <- n
				return nil
			},
			appsandbooks.WithNotificationSecrets(secret),
		)
		if err != nil {
			t.Fatal(err)
		}
		srv, err := appsandbookstest.NewServer(
			appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(handler)))
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		unit := srv.Unit()
		client, err := appsandbooks.NewClient(unit.Token(), appsandbooks.WithHTTPClient(srv.Client()))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_, err = client.Config.Register(t.Context(), appsandbooks.Registration{
			NotificationURL:       "https://mdm.example.com/notifications",
			NotificationAuthToken: secret,
			Handler:               handler,
		})
		if err != nil {
			t.Fatal(err)
		}

		// Purchase does what a content manager does in Apple's portal.
		unit.Purchase("361309726", "STDQ", 25)
		if n := <-received; n.AssetCount == nil || n.AssetCount.CountDelta != 25 {
			t.Errorf("%+v", n)
		}
	})
}

// WithBaseURL connects a client to a stand-in that listens on a TCP address.
func TestWithBaseURL_reachesStandInOverTCP(t *testing.T) {
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	if err := srv.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithBaseURL(srv.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Config.ClientConfig(t.Context()); err != nil {
		t.Error(err)
	}
}

// docs/migrating-from-v1.md

// syncUsers updates a copy of the users. Pass the string that it returns to the next
// call, and an empty string to the first.
func syncUsers(ctx context.Context, client *appsandbooks.Client, since string, save func(users []appsandbooks.User, full bool)) (string, error) {
	next := since
	for page, err := range client.Users.Changes(ctx, appsandbooks.UserFilter{SinceVersionID: since}) {
		if err != nil {
			return since, err
		}
		// Full is true if the page is of the whole list, because the version is empty or too old.
		save(page.Items, page.Full)
		next = page.FirstVersionID
	}
	return next, nil
}

// The first call of syncUsers gets all users, a later call gets only the new user, and a call
// after the service has dropped the version gets all users again.
func TestUsersService_Changes_keepsCopyUpToDate(t *testing.T) {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	n := 0
	save := func(users []appsandbooks.User, _ bool) { n += len(users) }
	since, err := syncUsers(t.Context(), client, "", save)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "user-3"})
	since, err = syncUsers(t.Context(), client, since, save)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	srv.Unit().ForgetVersions()
	_, err = syncUsers(t.Context(), client, since, save)
	require.NoError(t, err)
	require.Equal(t, 6, n)
}

// docs/operations.md

// advice returns what a program can show to a person for an error.
func advice(err error) string {
	switch {
	case errors.Is(err, appsandbooks.ErrTokenExpired), errors.Is(err, appsandbooks.ErrTokenRevoked):
		return "download a new content token for this organizational unit"
	case appsandbooks.IsAuth(err):
		return "the content token is damaged: pass the whole .vpptoken file"
	case appsandbooks.IsForbidden(err):
		return "use the token of a content manager with the right to assign"
	case errors.Is(err, appsandbooks.ErrNotEnoughLicenses):
		return "buy more licenses, or take some back"
	case errors.Is(err, appsandbooks.ErrAmbiguous), errors.Is(err, appsandbooks.ErrStalled):
		return "the result is not known yet: check the report later"
	case appsandbooks.IsRetryable(err):
		return "the service is not available: try again later"
	}
	return err.Error()
}

// For each of these error numbers, the function advice returns a matching text.
func TestErrorNumber_leadsToMatchingAdvice(t *testing.T) {
	for number, want := range map[appsandbooks.ErrorNumber]string{
		9625: "download", 9622: "damaged", 9637: "right to assign", 9709: "buy more", 9729: "later", 9602: "invalid",
	} {
		require.Contains(t, advice(&appsandbooks.Error{Number: number}), want)
	}
}

func logJSON(stoken string) (*appsandbooks.Client, error) {
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	return appsandbooks.NewClient(stoken, appsandbooks.WithLogger(logger))
}

func clientWithMetrics(stoken string, observe func(path, outcome string, took, waited time.Duration)) (*appsandbooks.Client, error) {
	return appsandbooks.NewClient(stoken, appsandbooks.WithTrace(func(_ context.Context, a appsandbooks.Attempt) {
		outcome := "ok"
		switch {
		case a.ErrorNumber != 0:
			outcome = fmt.Sprint(int(a.ErrorNumber))
		case a.StatusCode == 0:
			outcome = "no answer"
		case a.Err != nil:
			outcome = fmt.Sprint("HTTP ", a.StatusCode)
		}
		observe(a.Path, outcome, a.Took, a.Queued+a.Waited)
	}))
}

// NewClient accepts the logger and the trace hook of docs/operations.md.
func TestNewClient_acceptsLoggerAndTraceOfGuide(t *testing.T) {
	c, err := logJSON("dG9rZW4=")
	require.NoError(t, err)
	c.Close()
	c, err = clientWithMetrics("dG9rZW4=", nil)
	require.NoError(t, err)
	c.Close()
}
