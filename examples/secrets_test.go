package examples_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// No program prints the content token, however talkative it is told to be, and
// although the service and the proxy before it repeat what they were sent.
func TestTokenIsNotPrinted(t *testing.T) {
	dir := t.TempDir()
	pairs := filepath.Join(dir, "pairs.csv")
	require.NoError(t, os.WriteFile(pairs, []byte("adamId,serialNumber\n361309726,C02\n361309726,C03\n"), 0o600))
	for program, runs := range map[string][][]string{
		"walkthrough": {{}},
		"inventory":   {{}, {"-assignments"}, {"-users"}, {"-subscriptions"}},
		"assign": {
			{"-action", "associate", "-in", pairs, "-plan"},
			{"-action", "associate", "-in", pairs, "-out", filepath.Join(dir, "result.csv")},
			{"-action", "disassociate", "-in", pairs, "-out", "-"},
		},
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(dir, program+".exe") // the name does no harm elsewhere
			out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./"+program).CombinedOutput()
			require.NoError(t, err, "%s", out)
			for _, args := range runs {
				srv := appsandbookstest.NewServer()
				unit := srv.Unit()
				unit.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
				unit.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726, Total: appsandbookstest.Seats{Renewing: 25}})
				require.NoError(t, srv.Listen(""))
				token := unit.Token()
				echo := "you sent Authorization: Bearer " + token
				srv.AddFault(appsandbookstest.Fault{Method: "GET", Status: 502, Body: "<html>" + echo, Times: 1})
				srv.AddFault(appsandbookstest.Fault{Method: "GET", Status: 503, Body: `{"errorNumber":9729,"errorMessage":"` + echo + `"}`, Times: 1})
				srv.AddFault(appsandbookstest.Fault{Method: "GET", Kind: appsandbookstest.FaultResetBefore, Times: 1})
				srv.AddFault(appsandbookstest.Fault{Path: "assets", Method: "POST", Status: 500, Body: `{"errorNumber":9603,"errorMessage":"` + echo + `"}`, Times: 1})

				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				cmd := exec.CommandContext(ctx, binary, append([]string{"-v", "-first-look", "100ms"}, args...)...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "APPSANDBOOKS_STOKEN="+token, "APPSANDBOOKS_BASE_URL="+srv.URL())
				printed, err := cmd.CombinedOutput()
				cancel()
				require.NoError(t, err, "%s", printed)
				require.Contains(t, string(printed), "appsandbooks: request", "it says nothing about its requests")
				require.Contains(t, string(printed), "[REDACTED]", "nothing was echoed")
				require.NotContains(t, string(printed), token)
				require.NotContains(t, string(printed), token[:len(token)/2])
				srv.Close()

				written, err := filepath.Glob(filepath.Join(dir, "*.csv*")) // with what is kept to resume
				require.NoError(t, err)
				for _, name := range written {
					content, err := os.ReadFile(name)
					require.NoError(t, err)
					require.NotContains(t, string(content), token[:len(token)/2], name)
				}
			}
		})
	}
}
