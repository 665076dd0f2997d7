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
	tokenFile  = flag.String("token-file", "", "`file` with a content token, also relative to the root of the repository: run against Apple's service, too")
	serviceURL = flag.String("url", appsandbooks.DefaultBaseURL, "base `URL` of the service that the token is for")
	record     = flag.Bool("record", false, "with a token: keep the service's answers, redacted, in place of those in "+fixture)
	write      = flag.Bool("write", false, "with a token: create, update and retire a user")
)

// fixture holds recorded answers.
const fixture = "testdata/service.yaml"

func TestStandIn(t *testing.T) {
	for _, medium := range []string{"memory", "TCP"} {
		t.Run(medium, func(t *testing.T) {
			srv := standIn(t)
			opts := []appsandbooks.Option{appsandbooks.WithHTTPClient(srv.Client())}
			if medium == "TCP" {
				require.NoError(t, srv.Listen(""))
				opts = []appsandbooks.Option{appsandbooks.WithBaseURL(srv.URL())}
			}
			reads(t, srv.Unit().Token(), opts...)
			writes(t, srv.Unit().Token(), append(opts, appsandbooks.WithPolling(100*time.Millisecond, time.Second))...)
		})
	}
}

func TestService(t *testing.T) {
	if *tokenFile == "" {
		t.Skip("not run against Apple's service: give -token-file (it only reads), and -record to keep the answers")
	}
	content, err := os.ReadFile(*tokenFile)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(*tokenFile) {
		content, err = os.ReadFile(filepath.Join("..", "..", *tokenFile)) // from where go test was called
	}
	require.NoError(t, err)
	opts := []appsandbooks.Option{appsandbooks.WithBaseURL(*serviceURL)}
	if *record {
		keep(t, string(content), *serviceURL, http.DefaultTransport, fixture)
		t.Log("recorded, without names, ids and secrets, in internal/contract/" + fixture)
	} else {
		reads(t, string(content), opts...)
	}
	switch {
	case !*write:
		t.Log("nothing was changed: give -write to have a user created, updated and retired")
	case *record:
		t.Log("nothing was changed: -write and -record exclude each other")
	default:
		writes(t, string(content), opts...)
	}
}

func TestRecorded(t *testing.T) {
	reads(t, "any", appsandbooks.WithHTTPClient(replaying(t, fixture)))
}

// standIn has more than a page of everything.
func standIn(t *testing.T) *appsandbookstest.Server {
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

// atMost bounds how much of a large library is read.
const atMost = 3 // pages

func some[T any](t *testing.T, pages iter.Seq2[T, error]) (read []T) {
	for page, err := range pages {
		require.NoError(t, err)
		if read = append(read, page); len(read) == atMost {
			break
		}
	}
	require.NotEmpty(t, read, "a list has a page, if an empty one")
	return read
}

// place checks what the SDK relies on when it reads a list page by page.
func place[T any](t *testing.T, index int, page *appsandbooks.Page[T]) {
	require.Equal(t, index, page.Index)
	if len(page.Items) > 0 { // how many pages an empty list has is not documented
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

// size checks that the size of a page is the number of its records.
func size(t *testing.T, c *appsandbooks.Client, path string, query url.Values) {
	var page struct {
		Size        int               `json:"size"`
		Users       []json.RawMessage `json:"users"`
		Assignments []json.RawMessage `json:"assignments"`
	}
	require.NoError(t, c.Do(t.Context(), http.MethodGet, path, query, nil, &page))
	require.Equal(t, page.Size, len(page.Users)+len(page.Assignments))
}

// reads change nothing. Names of their own begin with "contract-".
func reads(t *testing.T, token string, opts ...appsandbooks.Option) {
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
		size(t, c, "users", nil)
		pages := some(t, c.Users.Pages(ctx, appsandbooks.UserFilter{}))
		for i, page := range pages {
			place(t, i, page)
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
		pages := some(t, c.Assets.Pages(ctx, appsandbooks.AssetFilter{}))
		for i, page := range pages {
			place(t, i, page)
			for _, a := range page.Items {
				require.NotEmpty(t, a.AdamID)
				require.NotEmpty(t, a.PricingParam)
				if a.TotalCount != a.AssignedCount+a.AvailableCount+a.RetiredCount { // nobody says that it must be
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
		size(t, c, "assignments", url.Values{"includeUserState": {"true"}})
		pages := some(t, c.Assignments.Pages(ctx, appsandbooks.AssignmentFilter{IncludeUserState: true}))
		for i, page := range pages {
			place(t, i, page)
			for _, a := range page.Items {
				require.NotEmpty(t, a.AdamID)
				require.NotEqual(t, a.ClientUserID == "", a.SerialNumber == "", "to a user or to a device")
			}
		}
		if len(pages[0].Items) > 0 {
			want := pages[0].Items[0]
			filter := appsandbooks.AssignmentFilter{AdamID: want.AdamID, ClientUserID: want.ClientUserID, SerialNumber: want.SerialNumber}
			found := 0
			for a, err := range c.Assignments.All(ctx, filter) {
				require.NoError(t, err)
				require.Equal(t, [3]string{want.AdamID, want.ClientUserID, want.SerialNumber}, [3]string{a.AdamID, a.ClientUserID, a.SerialNumber})
				found++
			}
			require.Positive(t, found)
		}
		_, err := c.Assignments.List(ctx, appsandbooks.AssignmentFilter{SinceVersionID: pages[0].VersionID})
		require.NoError(t, err)
	})
	t.Run("subscriptions", func(t *testing.T) {
		page, err := c.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{})
		var e *appsandbooks.Error
		if errors.As(err, &e) && e.Number != 0 { // by which number is not documented
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
	for name, refusal := range map[string]struct {
		call func() error
		is   func(error) bool
	}{
		"an event": {func() error { _, err := c.Status.Get(ctx, noEvent); return err }, is(appsandbooks.ErrEventNotFound)},
		"a page": {func() error {
			_, err := c.Users.List(ctx, appsandbooks.UserFilter{ListOptions: appsandbooks.ListOptions{Start: "1000000"}})
			return err
		}, is(appsandbooks.ErrInvalidPageIndex)},
		"a version": {func() error {
			_, err := c.Users.List(ctx, appsandbooks.UserFilter{SinceVersionID: noVersion})
			return err
		}, is(appsandbooks.ErrInvalidVersionID)},
		"a path": {func() error { return c.Do(ctx, http.MethodGet, noPath, nil, nil, nil) }, func(err error) bool {
			var e *appsandbooks.Error
			return errors.As(err, &e)
		}},
		"a token": {func() error {
			_, err := newClient(t, noToken, opts...).Config.ClientConfig(ctx)
			return err
		}, func(err error) bool {
			return appsandbooks.IsAuth(err) || errors.Is(err, appsandbooks.ErrInvalidArgument)
		}},
	} {
		t.Run("there is no such "+name[strings.Index(name, " ")+1:], func(t *testing.T) {
			err := refusal.call()
			require.Error(t, err)
			require.True(t, refusal.is(err), "%v", err)
		})
	}
}

// What the tests ask for, and does not exist.
const (
	noEvent   = "contract-no-such-event"
	noVersion = "contract-no-such-version"
	noPath    = "contract-no-such-path"
	noToken   = "contract-no-such-token"
)

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

// writes need a unit in which a user more does no harm. It is retired again.
func writes(t *testing.T, token string, opts ...appsandbooks.Option) {
	c := newClient(t, token, opts...)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	id := "contract-" + rand.Text()
	find := func() *appsandbooks.User {
		for u, err := range c.Users.All(ctx, appsandbooks.UserFilter{ClientUserID: id}) {
			require.NoError(t, err)
			return &u
		}
		return nil
	}
	finish := func(op *appsandbooks.Operation, err error) {
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
	t.Run("a user", func(t *testing.T) {
		require.Nil(t, find())
		finish(c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: id, Email: "contract@example.com"}}}))
		require.NotNil(t, find())
		finish(c.Users.Update(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: id, Email: "contract2@example.com"}}}))
		require.Equal(t, "contract2@example.com", find().Email)

		op, err := c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: id}}})
		if err == nil {
			_, err = op.Wait(ctx)
		}
		require.ErrorIs(t, err, appsandbooks.ErrUserAlreadyExists)

		finish(c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{id}}))
		retired = true
		if u := find(); u != nil {
			require.Equal(t, appsandbooks.UserRetired, u.Status)
		}
	})
	t.Run("a refused association", func(t *testing.T) {
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
