package appsandbookstest_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The package imports only the standard library, and neither testing, flag nor
// net/http/httptest.
func TestServer_dependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}!{{end}}{{.ImportPath}}", ".").Output()
	if err != nil {
		t.Skip("no go command: ", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		require.NotContains(t, []string{"testing", "flag", "net/http/httptest"}, pkg)
		if name, ok := strings.CutPrefix(pkg, "!"); ok {
			require.Equal(t, "github.com/appsandbooks/appsandbooks/appsandbookstest", name)
		}
	}
}
