package appsandbooks_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// With WithOwner, any answer that names another device management service is a takeover of
// the unit. Only an answer that names the owner ends the takeover.
func TestWithOwner_detectsTakeoverInAnyAnswer(t *testing.T) {
	write := func(c *appsandbooks.Client) error {
		return c.Do(t.Context(), http.MethodPost, "assets/associate", nil, struct{}{}, nil)
	}
	const another = `{"id":"another","name":"n","metadata":"m"}`
	owner := appsandbooks.WithOwner(ourMDM, func(*appsandbooks.TakeoverError) {})
	answers := []string{}
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		body := answers[0]
		answers = answers[1:]
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}), owner)
	require.NoError(t, err)
	defer c.Close()

	answers = []string{`{"mdmInfo":{},"uId":"u"}`, `{}`}
	_, err = c.Config.ClientConfig(t.Context())
	require.NoError(t, err)
	require.NoError(t, write(c), "an empty mdmInfo is not another service")

	answers = []string{`{"mdmInfo":` + another + `,"uId":"u","subscriptionManagement":true}`}
	err = c.Subscriptions.Enable(t.Context())
	require.NoError(t, err)
	require.ErrorIs(t, write(c), appsandbooks.ErrTakenOver)

	answers = []string{`{}`}
	_, err = c.Config.Claim(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
	require.ErrorIs(t, write(c), appsandbooks.ErrTakenOver)

	answers = []string{`{"mdmInfo":{"id":"` + ourMDM.ID + `","name":"n","metadata":"m"},"uId":"u"}`, `{}`}
	_, err = c.Config.Claim(t.Context())
	require.NoError(t, err)
	require.NoError(t, write(c))
}

var otherMDM = appsandbookstest.MDMInfo{ID: "another-service", Name: "Another MDM", Metadata: "x"}

// takeovers collects the errors that the hook of WithOwner receives.
type takeovers []*appsandbooks.TakeoverError

func (l *takeovers) add(e *appsandbooks.TakeoverError) { *l = append(*l, e) }

// After a takeover of the unit all writes fail with ErrTakenOver and are not sent, reads
// still work, and ConfigService.Claim ends the takeover.
func TestWithOwner_refusesWritesAfterTakeover(t *testing.T) {
	var reported takeovers
	h := newHandler(t, nil)
	srv, c := newServerWithReceiver(t, h, appsandbooks.WithOwner(ourMDM, reported.add))
	ctx, unit := t.Context(), srv.Unit()
	assets := addAssets(srv, 1, 100)
	associate := func(serial string) error {
		op, err := c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{serial}})
		if err != nil {
			return err
		}
		return errorOf(op.Wait(ctx))
	}

	require.NoError(t, associate("C1"), "a unit that no service has claimed is no conflict")
	_, err := c.Config.Register(ctx, appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h})
	require.NoError(t, err)
	require.Equal(t, ourMDM.ID, unit.ClientConfig().MDMInfo.ID, "Register claims the unit for the owner")
	require.NoError(t, associate("C2"))
	require.Empty(t, reported)

	unit.TakeOver(otherMDM)
	_, err = c.Assets.List(ctx, appsandbooks.AssetFilter{})
	require.NoError(t, err, "reads still work")
	require.Len(t, reported, 1)
	require.Equal(t, unit.UID(), reported[0].UID)
	require.Equal(t, otherMDM.ID, reported[0].By.ID)

	srv.ResetRequests()
	for name, write := range map[string]func() error{
		"associate": func() error { return associate("C3") },
		"users": func() error {
			op, err := c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u", Email: "u@example.com"}}})
			if err != nil {
				return err
			}
			return errorOf(op.Wait(ctx))
		},
		"enable": func() error { return c.Subscriptions.Enable(ctx) },
		"do":     func() error { return c.Do(ctx, http.MethodPost, "assets/associate", nil, struct{}{}, nil) },
		"register": func() error {
			_, err := c.Config.UpdateClientConfig(ctx, appsandbooks.Registration{MDMInfo: &ourMDM})
			return err
		},
		"unregister": func() error { _, err := c.Config.Unregister(ctx); return err },
	} {
		err := write()
		require.ErrorIs(t, err, appsandbooks.ErrTakenOver, name)
		var taken *appsandbooks.TakeoverError
		require.ErrorAs(t, err, &taken, name)
		require.Equal(t, otherMDM.Name, taken.By.Name)
		require.ErrorContains(t, err, `"Another MDM" (id "another-service")`)
		require.False(t, appsandbooks.IsRetryable(err))
	}
	require.False(t, slices.ContainsFunc(srv.Requests(), func(r appsandbookstest.Request) bool { return r.Method == "POST" }))
	_, err = c.Config.ClientConfig(ctx)
	require.NoError(t, err)
	require.Len(t, reported, 1, "the same takeover is reported once")

	config, err := c.Config.Claim(ctx)
	require.NoError(t, err)
	require.Equal(t, ourMDM, *config.MDMInfo)
	require.NoError(t, associate("C4"))

	unit.TakeOver(otherMDM)
	_, err = c.Assets.List(ctx, appsandbooks.AssetFilter{})
	require.NoError(t, err)
	require.Len(t, reported, 2, "the next takeover is reported, too")
}

// An operation stops at a takeover: the request whose answer shows the takeover counts as
// sent, and the operation sends no further request.
func TestWithOwner_stopsOperationAtTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported takeovers
		srv, err := appsandbookstest.NewServer()
		require.NoError(t, err)
		defer srv.Close()
		c := newClient(t, srv, appsandbooks.WithOwner(ourMDM, reported.add))
		defer c.Close()
		_, err = c.Config.Claim(t.Context())
		require.NoError(t, err)

		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 10_000), SerialNumbers: names("C02", 9500),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		require.Equal(t, 10, op.Plan().Requests)
		srv.Unit().TakeOver(otherMDM)
		require.NoError(t, op.Step(t.Context()))
		require.Len(t, reported, 1)
		sent := countPath(srv, "assets/associate")
		require.Less(t, sent, 10)
		require.Len(t, op.EventIDs(), sent)

		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTakenOver)
		require.Equal(t, sent, countPath(srv, "assets/associate"), "Wait sends nothing")
		require.Positive(t, report.Succeeded)
		require.Positive(t, report.Unsent)
		require.Equal(t, report.Total, report.Succeeded+report.Unsent)
		requireLedgerAgrees(t, srv, report)
		for o := range report.Outcomes() {
			if o.Status == appsandbooks.OutcomeUnsent {
				require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
				require.ErrorIs(t, o.Err, appsandbooks.ErrTakenOver)
			}
		}

		// After Claim the operation sends the remaining requests.
		_, err = c.Config.Claim(t.Context())
		require.NoError(t, err)
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 9500, report.Succeeded)
		require.Equal(t, 10, countPath(srv, "assets/associate"))
		require.Empty(t, srv.Violations())
	})
}

// When a request was sent before Claim, its answer does not count as a takeover.
func TestConfigService_Claim_ignoresAnswersToEarlierRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported takeovers
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithLatency(4 * time.Second))
		require.NoError(t, err)
		defer srv.Close()
		c := newClient(t, srv, appsandbooks.WithOwner(ourMDM, reported.add))
		defer c.Close()
		srv.Unit().TakeOver(otherMDM)
		srv.AddFault(appsandbookstest.Fault{Path: "assets", Kind: appsandbookstest.FaultSlowBody, Delay: 10 * time.Second, Times: 1})
		read := make(chan error, 1)
		go func() {
			_, err := c.Assets.List(t.Context(), appsandbooks.AssetFilter{})
			read <- err
		}()
		time.Sleep(time.Second)
		_, err = c.Config.Claim(t.Context())
		require.NoError(t, err)
		require.NoError(t, <-read)
		require.Empty(t, reported)
		_, err = c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 1), SerialNumbers: []string{"C"}})
		require.NoError(t, err)
	})
}

// Claim fails with ErrTakenOver when its answer names another device management service.
func TestConfigService_Claim_failsWhenUnitIsTakenAgain(t *testing.T) {
	answer := `{"mdmInfo":{"id":"theirs","name":"x","metadata":"y"},"uId":"1"}`
	r := &recordedAnswers{t: t, answers: []string{answer}}
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: r}), appsandbooks.WithOwner(ourMDM, nil))
	require.NoError(t, err)
	defer c.Close()
	config, err := c.Config.Claim(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrTakenOver)
	require.Equal(t, "theirs", config.MDMInfo.ID)
	require.ErrorIs(t, c.Subscriptions.Enable(t.Context()), appsandbooks.ErrTakenOver)
}

// WithOwner requires a complete MDMInfo, Claim requires WithOwner, and a registration must
// not name another owner.
func TestWithOwner_requiresCompleteMDMInfo(t *testing.T) {
	_, err := appsandbooks.NewClient(stoken, appsandbooks.WithOwner(appsandbooks.MDMInfo{ID: "1"}, nil))
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)

	c, _ := recordedClient(t)
	_, err = c.Config.Claim(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrInvalid, "Claim needs WithOwner")

	c, err = appsandbooks.NewClient(stoken, appsandbooks.WithOwner(ourMDM, nil))
	require.NoError(t, err)
	_, err = c.Config.UpdateClientConfig(context.Background(), appsandbooks.Registration{MDMInfo: &appsandbooks.MDMInfo{ID: "x", Name: "y", Metadata: "z"}})
	require.ErrorIs(t, err, appsandbooks.ErrInvalid, "a registration with another owner")
	require.ErrorIs(t, &appsandbooks.TakeoverError{}, appsandbooks.ErrTakenOver)
}

// The client detects a takeover in the pages of every list, with either of the two decoders
// of pages.
func TestWithOwner_detectsTakeoverInLists(t *testing.T) {
	for _, list := range []func(*testing.T, *appsandbooks.Client) error{
		func(t *testing.T, c *appsandbooks.Client) error {
			_, err := appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}))
			return err
		},
		func(t *testing.T, c *appsandbooks.Client) error {
			_, err := appsandbooks.Collect(c.Users.All(t.Context(), appsandbooks.UserFilter{}))
			return err
		},
		func(t *testing.T, c *appsandbooks.Client) error {
			_, err := c.Assets.List(t.Context(), appsandbooks.AssetFilter{})
			return err
		},
	} {
		var reported takeovers
		inVirtualTime(t, slowPages(time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
			fillPages(srv, 0, 20)
			addUsers(srv, 40)
			srv.Unit().TakeOver(otherMDM)
			c := newClient(t, srv, appsandbooks.WithOwner(ourMDM, reported.add))
			defer c.Close()
			require.NoError(t, list(t, c), "reads still work")
			require.Len(t, reported, 1)
		})
	}
}
