package contract_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

var (
	tokenFile  = flag.String("token-file", "", "`file` with a content token: run the tests against Apple's service, too; the path can be relative to the root of the repository")
	serviceURL = flag.String("url", appsandbooks.DefaultBaseURL, "base `URL` of the service that the token is for")
	record     = flag.Bool("record", false, "with -token-file: write the answers of the service, without names, ids and secrets, to "+fixture)
	write      = flag.Bool("write", false, "with -token-file: create, update and retire a user")
)

// fixture is the name of the file with the recorded answers of the service.
const fixture = "testdata/service.yaml"

// The stand-in behaves as the SDK expects from the service.
func TestStandIn(t *testing.T) {
	for _, medium := range []string{"memory", "TCP"} {
		t.Run(medium, func(t *testing.T) {
			srv := newStandIn(t)
			opts := []appsandbooks.Option{appsandbooks.WithHTTPClient(srv.Client())}
			if medium == "TCP" {
				require.NoError(t, srv.Listen(""))
				opts = []appsandbooks.Option{appsandbooks.WithBaseURL(srv.URL())}
			}
			testReads(t, srv.Unit().Token(), opts...)
			testWrites(t, srv.Unit().Token(), append(opts, appsandbooks.WithPolling(100*time.Millisecond, time.Second))...)
		})
	}
}

// Apple's service behaves as the SDK expects.
func TestService(t *testing.T) {
	if *tokenFile == "" {
		t.Skip("skipped for Apple's service: give -token-file to run the tests that only read, and -record to write the answers to a file")
	}
	content, err := os.ReadFile(*tokenFile)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(*tokenFile) {
		// The path of the token file is relative to the root of the repository.
		content, err = os.ReadFile(filepath.Join("..", "..", *tokenFile))
	}
	require.NoError(t, err)
	opts := []appsandbooks.Option{appsandbooks.WithBaseURL(*serviceURL)}
	if *record {
		recordAnswers(t, string(content), *serviceURL, http.DefaultTransport, fixture)
		t.Log("wrote the answers, without names, ids and secrets, to internal/contract/" + fixture)
	} else {
		testReads(t, string(content), opts...)
	}
	switch {
	case !*write:
		t.Log("nothing was changed: give -write to create, update and retire a user")
	case *record:
		t.Log("nothing was changed: -write has no effect with -record")
	default:
		testWrites(t, string(content), opts...)
	}
}

// The recorded answers of the service are the answers that the SDK expects.
func TestRecorded(t *testing.T) {
	testReads(t, "any", appsandbooks.WithHTTPClient(replayingClient(t, fixture)))
}

// newStandIn returns a stand-in whose lists have several pages each, except the lists of
// assets and subscriptions.
func newStandIn(t *testing.T) *appsandbookstest.Server {
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithPageSize(4), appsandbookstest.WithCursorPageSize(2))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	u := srv.Unit()
	u.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	u.AddAsset(appsandbookstest.Asset{AdamID: "409203825", PricingParam: "PLUS", Total: 9})
	u.AddAsset(appsandbookstest.Asset{AdamID: "435160039", ProductType: "Book", Unlimited: true})
	for _, name := range []string{"canary-ann", "canary-ben", "canary-cleo", "canary-dan", "canary-eve"} {
		u.AddUser(appsandbookstest.User{ClientUserID: name, Email: name + "@example.com", Status: appsandbookstest.UserAssociated})
		u.AddAssignments(
			appsandbookstest.Assignment{AdamID: "361309726", ClientUserID: name},
			appsandbookstest.Assignment{AdamID: "361309726", SerialNumber: strings.ToUpper(name)},
		)
	}
	u.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726, Total: appsandbookstest.Seats{Renewing: 5, Expiring: 1}})
	u.AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: "canary-ann", Renewing: true})
	return srv
}

func newClient(t *testing.T, token string, opts ...appsandbooks.Option) *appsandbooks.Client {
	c, err := appsandbooks.NewClient(token, append([]appsandbooks.Option{appsandbooks.WithUserAgent("contract")}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// maxPages is the number of pages that the tests read of each list.
const maxPages = 3

// firstPages reads and returns at most maxPages of a list. It fails the test if the list
// has no page.
func firstPages[T any](t *testing.T, pages iter.Seq2[T, error]) (read []T) {
	for page, err := range pages {
		require.NoError(t, err)
		if read = append(read, page); len(read) == maxPages {
			break
		}
	}
	require.NotEmpty(t, read, "an empty list must have a page, too")
	return read
}

// checkPage checks the index, the versions and the next index of a page.
func checkPage[T any](t *testing.T, index int, page *appsandbooks.Page[T]) {
	require.Equal(t, index, page.Index)
	if len(page.Items) > 0 { // Apple does not document TotalPages of an empty list
		require.Greater(t, page.TotalPages, index)
	}
	require.NotEmpty(t, page.UID)
	require.NotEmpty(t, page.VersionID)
	if index+1 < page.TotalPages {
		next, err := strconv.Atoi(page.Next)
		require.NoError(t, err)
		require.Greater(t, next, index)
	} else {
		require.Empty(t, page.Next)
	}
}

// checkSize checks that the field size of a page states the number of the page's records.
func checkSize(t *testing.T, c *appsandbooks.Client, path string, query url.Values) {
	var page struct {
		Size        int               `json:"size"`
		Users       []json.RawMessage `json:"users"`
		Assignments []json.RawMessage `json:"assignments"`
	}
	require.NoError(t, c.Do(t.Context(), http.MethodGet, path, query, nil, &page))
	require.Equal(t, page.Size, len(page.Users)+len(page.Assignments))
}

// testReads runs the tests that change nothing. The ids that these tests make up begin with
// "contract-".
func testReads(t *testing.T, token string, opts ...appsandbooks.Option) {
	c := newClient(t, token, opts...)
	ctx := t.Context()

	t.Run("service configuration", func(t *testing.T) {
		config, err := c.Config.ServiceConfig(ctx)
		require.NoError(t, err)
		for name, limit := range map[string]int{
			"assets": config.Limits.MaxAssets, "users": config.Limits.MaxClientUserIDs, "devices": config.Limits.MaxSerialNumbers,
			"users to create": config.Limits.MaxUsers,
		} {
			require.Positive(t, limit, name)
		}
		for _, key := range []string{"getAssets", "getUsers", "getAssignments", "associateAssets", "disassociateAssets", "eventStatus", "invitationEmail"} {
			require.NotEmpty(t, config.URLs[key], key)
		}
		require.NotEmpty(t, config.NotificationTypes)
	})
	t.Run("client configuration", func(t *testing.T) {
		config, err := c.Config.ClientConfig(ctx)
		require.NoError(t, err)
		require.NotEmpty(t, config.UID)
	})
	t.Run("users", func(t *testing.T) {
		checkSize(t, c, "users", nil)
		pages := firstPages(t, c.Users.Pages(ctx, appsandbooks.UserFilter{}))
		for i, page := range pages {
			checkPage(t, i, page)
			for _, u := range page.Items {
				require.NotEmpty(t, u.ClientUserID)
				require.NotEmpty(t, u.Status)
			}
		}
		if len(pages[0].Items) > 0 {
			id := pages[0].Items[0].ClientUserID
			for u, err := range c.Users.All(ctx, appsandbooks.UserFilter{ClientUserID: id}) {
				require.NoError(t, err)
				require.Equal(t, id, u.ClientUserID)
			}
		}
		_, err := c.Users.List(ctx, appsandbooks.UserFilter{SinceVersionID: pages[0].VersionID})
		require.NoError(t, err)
	})
	t.Run("assets", func(t *testing.T) {
		pages := firstPages(t, c.Assets.Pages(ctx, appsandbooks.AssetFilter{}))
		for i, page := range pages {
			checkPage(t, i, page)
			for _, a := range page.Items {
				require.NotEmpty(t, a.AdamID)
				require.NotEmpty(t, a.PricingParam)
				if a.TotalCount != a.AssignedCount+a.AvailableCount+a.RetiredCount { // Apple does not document that the counts add up
					t.Logf("the counts of %s do not add up: %d, %d, %d, %d", a.AdamID, a.TotalCount, a.AssignedCount, a.AvailableCount, a.RetiredCount)
				}
			}
		}
		if len(pages[0].Items) > 0 {
			want := pages[0].Items[0]
			for a, err := range c.Assets.All(ctx, appsandbooks.AssetFilter{AdamID: want.AdamID, PricingParam: want.PricingParam}) {
				require.NoError(t, err)
				require.Equal(t, want.AdamID, a.AdamID)
				require.Equal(t, want.PricingParam, a.PricingParam)
			}
		}
	})
	t.Run("assignments", func(t *testing.T) {
		checkSize(t, c, "assignments", url.Values{"includeUserState": {"true"}})
		pages := firstPages(t, c.Assignments.Pages(ctx, appsandbooks.AssignmentFilter{IncludeUserState: true}))
		for i, page := range pages {
			checkPage(t, i, page)
			for _, a := range page.Items {
				require.NotEmpty(t, a.AdamID)
				require.NotEqual(t, a.ClientUserID == "", a.SerialNumber == "", "an assignment is to a user or to a device")
			}
		}
		if len(pages[0].Items) > 0 {
			want := pages[0].Items[0]
			filter := appsandbooks.AssignmentFilter{AdamID: want.AdamID, ClientUserID: want.ClientUserID, SerialNumber: want.SerialNumber}
			count := 0
			for a, err := range c.Assignments.All(ctx, filter) {
				require.NoError(t, err)
				require.Equal(t, [3]string{want.AdamID, want.ClientUserID, want.SerialNumber}, [3]string{a.AdamID, a.ClientUserID, a.SerialNumber})
				count++
			}
			require.Positive(t, count)
		}
		_, err := c.Assignments.List(ctx, appsandbooks.AssignmentFilter{SinceVersionID: pages[0].VersionID})
		require.NoError(t, err)
	})
	t.Run("subscriptions", func(t *testing.T) {
		page, err := c.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{})
		var e *appsandbooks.Error
		// Apple does not document the error number that a unit without subscriptions gets.
		if errors.As(err, &e) && e.Number != 0 {
			t.Skip("the unit has no subscriptions:", err)
		}
		require.NoError(t, err)
		for _, s := range page.Items {
			require.NotZero(t, s.AdamID)
		}
		if len(page.Items) == 0 {
			return
		}
		seats, err := c.SubscriptionAssignments.List(ctx, appsandbooks.SubscriptionAssignmentFilter{AdamIDs: []int64{page.Items[0].AdamID}})
		require.NoError(t, err)
		for _, s := range seats.Items {
			require.Equal(t, page.Items[0].AdamID, s.AdamID)
			require.NotEmpty(t, s.ClientUserID)
		}
		_, err = c.SubscriptionAdmins.List(ctx, appsandbooks.SubscriptionAdminFilter{})
		require.NoError(t, err)
	})
	for name, test := range map[string]struct {
		call     func() error
		expected func(error) bool
	}{
		"unknown event": {func() error { _, err := c.Status.Get(ctx, noEvent); return err }, is(appsandbooks.ErrEventNotFound)},
		"unknown page": {func() error {
			_, err := c.Users.List(ctx, appsandbooks.UserFilter{ListOptions: appsandbooks.ListOptions{Start: "1000000"}})
			return err
		}, is(appsandbooks.ErrInvalidPageIndex)},
		"unknown version": {func() error {
			_, err := c.Users.List(ctx, appsandbooks.UserFilter{SinceVersionID: noVersion})
			return err
		}, is(appsandbooks.ErrInvalidVersionID)},
		"unknown path": {func() error { return c.Do(ctx, http.MethodGet, noPath, nil, nil, nil) }, func(err error) bool {
			var e *appsandbooks.Error
			return errors.As(err, &e)
		}},
		"unknown token": {func() error {
			_, err := newClient(t, noToken, opts...).Config.ClientConfig(ctx)
			return err
		}, func(err error) bool {
			return appsandbooks.IsAuth(err) || errors.Is(err, appsandbooks.ErrInvalidArgument)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.call()
			require.Error(t, err)
			require.True(t, test.expected(err), "%v", err)
		})
	}
}

// These values are made up: the service does not know them.
const (
	noEvent   = "contract-no-such-event"
	noVersion = "contract-no-such-version"
	noPath    = "contract-no-such-path"
	noToken   = "contract-no-such-token"
)

// is returns a function that reports whether an error matches target.
func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

// testWrites runs the tests that change the organizational unit. They create a user and
// retire it again.
func testWrites(t *testing.T, token string, opts ...appsandbooks.Option) {
	c := newClient(t, token, opts...)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	id := "contract-" + rand.Text()
	findUser := func() *appsandbooks.User {
		for u, err := range c.Users.All(ctx, appsandbooks.UserFilter{ClientUserID: id}) {
			require.NoError(t, err)
			return &u
		}
		return nil
	}
	requireSuccess := func(op *appsandbooks.Operation, err error) {
		t.Helper()
		require.NoError(t, err)
		report, err := op.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, report.Succeeded)
	}
	retired := false
	t.Cleanup(func() {
		if !retired {
			_, _ = c.Users.Retire(context.WithoutCancel(ctx), appsandbooks.UserChange{ClientUserIDs: []string{id}})
		}
	})
	t.Run("user", func(t *testing.T) {
		require.Nil(t, findUser())
		requireSuccess(c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: id, Email: "contract@example.com"}}}))
		require.NotNil(t, findUser())
		requireSuccess(c.Users.Update(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: id, Email: "contract2@example.com"}}}))
		require.Equal(t, "contract2@example.com", findUser().Email)

		op, err := c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: id}}})
		if err == nil {
			_, err = op.Wait(ctx)
		}
		require.ErrorIs(t, err, appsandbooks.ErrUserAlreadyExists)

		requireSuccess(c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{id}}))
		retired = true
		if u := findUser(); u != nil {
			require.Equal(t, appsandbooks.UserRetired, u.Status)
		}
	})
	t.Run("rejected association", func(t *testing.T) {
		op, err := c.Assets.Associate(ctx, appsandbooks.AssetChange{
			Assets: []appsandbooks.AssetID{{AdamID: "1"}}, ClientUserIDs: []string{id},
		})
		if err == nil {
			_, err = op.Wait(ctx)
		}
		var e *appsandbooks.Error
		require.True(t, errors.As(err, &e) && e.Number != 0, "%v", err)
	})
}
