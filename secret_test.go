package appsandbooks_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// Values that cannot be a notification secret are refused: a value with white space at either
// end, a token after "Bearer", and the text that replaces a secret in JSON.
func TestSecret_unusableValuesAreRefused(t *testing.T) {
	for _, secret := range []string{"s3cret\n", " s3cret", "Bearer s3cret", "[REDACTED]"} {
		_, err := appsandbooks.NewNotificationHandler(nil, appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret(secret)))
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "%q", secret)
	}
	_, err := appsandbooks.NewClient("Bearer " + stoken)
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)

	text, err := json.Marshal(appsandbooks.ClientConfig{NotificationAuthToken: appsandbooks.NewSecret("s3cret")})
	require.NoError(t, err)
	var back appsandbooks.ClientConfig
	require.NoError(t, json.Unmarshal(text, &back))
	c, r := recordedClient(t)
	_, err = c.Config.UpdateClientConfig(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: back.NotificationAuthToken,
	})
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	require.Empty(t, r.requests)
}

// A Secret does not appear in formatted, logged or encoded values. Only the method Reveal returns
// it.
func TestSecret_printsRedacted(t *testing.T) {
	const canary = "s3cr3t-canary"
	config := new(appsandbooks.ClientConfig)
	require.NoError(t, json.Unmarshal([]byte(`{"notificationAuthToken":"`+canary+`"}`), config))
	require.Equal(t, canary, config.NotificationAuthToken.Reveal())
	update := appsandbooks.Registration{NotificationAuthToken: appsandbooks.NewSecret(canary)}
	var b strings.Builder
	for _, v := range []any{
		config, *config, update, &update, config.NotificationAuthToken,
		struct{ c *appsandbooks.ClientConfig }{config},
		struct{ c appsandbooks.ClientConfig }{*config},
		[]any{update},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&b, verb, v)
		}
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
		encoded, err := json.Marshal(v)
		require.NoError(t, err)
		b.Write(encoded)
	}
	require.NotContains(t, b.String(), canary)
	require.NotContains(t, b.String(), fmt.Sprintf("%x", canary))

	// The client sends the secret and reads it from the answer. When the service repeats the
	// secret in an error, the error of the call does not contain it.
	c, r := recordedClient(t, `{"notificationAuthToken":"`+canary+`"}`,
		`{"errorNumber":9711,"errorMessage":"`+canary+` is too long"}`, `{} `+canary)
	config, err := c.Config.UpdateClientConfig(t.Context(), update)
	require.NoError(t, err)
	require.Equal(t, canary, config.NotificationAuthToken.Reveal())
	_, err = c.Config.UpdateClientConfig(t.Context(), update)
	require.ErrorIs(t, err, appsandbooks.ErrNotificationConfigTooLong)
	require.NotContains(t, err.Error(), canary)
	require.Contains(t, r.bodies[0], canary)
	_, err = c.Config.UpdateClientConfig(t.Context(), update)
	require.NotContains(t, isError(t, err).Excerpt, canary)
}
