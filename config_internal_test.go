package appsandbooks

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A caller with a context of withOneAttempt reads the configuration alone: it does not wait for the
// read of others that waits for a pause, and the others do not fail with it.
func TestConfigService_ServiceConfig_withoutWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
		srv.AddFault(pauseOf("service/config", "240"))
		began := time.Now()
		done := make(chan error, 1)
		go func() {
			_, err := c.Config.ServiceConfig(t.Context())
			done <- err
		}()
		synctest.Wait()
		_, err := c.Config.ServiceConfig(withOneAttempt(t.Context()))
		requirePaused(t, err, 4*time.Minute, began)
		require.NoError(t, <-done)
		require.Equal(t, 4*time.Minute, time.Since(began))

		// Old limits are used if they cannot be read again.
		time.Sleep(time.Hour)
		srv.AddFault(pauseOf("service/config", "240"))
		began = time.Now()
		limits, err := c.Config.limits(withOneAttempt(t.Context()))
		require.NoError(t, err)
		require.Equal(t, 1000, limits.MaxSerialNumbers)
		require.Zero(t, time.Since(began))
	})
}
