package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Program.Client uses the content token and the URL of the flags, and otherwise
// those of the environment variables. It starts a stand-in only if neither a token
// nor a URL is given.
func TestProgram_selectsService(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	token, expired := srv.Unit().Token(), "eyJ0b2tlbiI6IngiLCJleHBEYXRlIjoiMjAyMC0wMS0wMlQwMzowNDowNSswMDAwIn0="
	file := filepath.Join(t.TempDir(), "headquarters.vpptoken")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))

	standIn := func() (*appsandbookstest.Server, error) { return appsandbookstest.NewServer() }
	for name, test := range map[string]struct {
		args    []string
		env     map[string]string
		standIn func() (*appsandbookstest.Server, error)
		works   bool
		stderr  string // a regular expression
		code    int
	}{
		"token file":         {args: []string{"-token-file", file, "-url", srv.URL()}, works: true, stderr: `^$`},
		"variables":          {env: map[string]string{tokenVariable: token, urlVariable: srv.URL()}, works: true, stderr: `^$`},
		"flags override":     {args: []string{"-token-file", file, "-url", srv.URL()}, env: map[string]string{tokenVariable: "x", urlVariable: "https://x"}, works: true, stderr: `^$`},
		"stand-in":           {standIn: standIn, works: true, stderr: `^prog: no content token .* at http://127\.0\.0\.1:\d+/mdm/v2\n$`},
		"no stand-in":        {code: Usage, stderr: `the content token is missing`},
		"url without token":  {args: []string{"-url", srv.URL()}, standIn: standIn, code: Usage, stderr: `the content token is missing`},
		"missing file":       {args: []string{"-token-file", file + "x"}, code: Aborted, stderr: `no such file|cannot find`},
		"http, not loopback": {args: []string{"-url", "http://example.com/mdm/v2"}, env: map[string]string{tokenVariable: token}, code: Usage, stderr: `must use https`},
		"malformed token":    {args: []string{"-url", srv.URL()}, env: map[string]string{tokenVariable: "x"}, stderr: `^prog: warning: .*base64`},
		"expired token":      {args: []string{"-url", srv.URL()}, env: map[string]string{tokenVariable: expired}, stderr: `^prog: warning: the content token expired on 2020-01-02\n$`},
		"token not for HTTP": {args: []string{"-url", srv.URL()}, env: map[string]string{tokenVariable: "ä"}, code: Usage, stderr: `visible ASCII`},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, stderr := testProgram(t, test.env, test.args...)
			require.NoError(t, p.Parse())
			client, err := p.Client(test.standIn, appsandbooks.WithRetry(1, 0, time.Second))
			if test.works {
				require.NoError(t, err)
				_, err := client.Config.ClientConfig(t.Context())
				require.NoError(t, err)
			}
			assert.Equal(t, test.code, p.finish(err))
			assert.Regexp(t, test.stderr, stderr.String())
			assert.NotContains(t, stderr.String(), token)
		})
	}
}
