package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The program reads and writes files, and sends at most 100 users in a request.
func TestOnboard_writesFile(t *testing.T) {
	srv, dir := newService(t), t.TempDir()
	var b strings.Builder
	b.WriteString("clientUserId\n")
	for _, id := range []string{"a", "b", "c"} {
		b.WriteString(strings.Repeat(id, 3) + "\n")
	}
	for i := range 240 {
		b.WriteString("user-" + strings.Repeat("x", i+1) + "\n")
	}
	in, out := filepath.Join(dir, "in.csv"), filepath.Join(dir, "out.csv")
	require.NoError(t, os.WriteFile(in, []byte(b.String()), 0o600))
	_, stderr, code := onboard(t, srv, "", "-in", in, "-out", out)
	require.Zero(t, code, stderr)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Len(t, rows(t, string(text)), 243)
	require.Equal(t, 3, countWrites(srv), "100 users in a request")
	temporary, err := filepath.Glob(filepath.Join(dir, ".onboard-*"))
	require.NoError(t, err)
	require.Empty(t, temporary)
}

// The program reports invalid flags and invalid input before it sends a request.
func TestOnboard_invalidInput(t *testing.T) {
	srv := newService(t)
	for name, test := range map[string]struct {
		stdin, want string
		args        []string
	}{
		"no input":    {"", "-in is missing", []string{"-out", "-"}},
		"no output":   {people, "-out is missing", []string{"-in", "-"}},
		"both":        {people, "-plan writes no file", []string{"-in", "-", "-out", "-", "-plan"}},
		"no file":     {"", "reading the input", []string{"-in", "none.csv", "-out", "-"}},
		"no folder":   {people, "creating the output", []string{"-in", "-", "-out", "none/out.csv"}},
		"empty":       {"", "the file is empty", []string{"-in", "-", "-out", "-"}},
		"no id":       {"email\na@b.example\n", "no column has the name clientUserId", []string{"-in", "-", "-out", "-"}},
		"empty id":    {"clientUserId,email\n,a@b.example\n", "line 2 has no clientUserId", []string{"-in", "-", "-out", "-"}},
		"same id":     {"clientUserId\na\na\n", "line 3 has the same clientUserId as an earlier line", []string{"-in", "-", "-out", "-"}},
		"same column": {"clientUserId,ClientUserID\na,a\n", "columns 1 and 2 have the same name", []string{"-in", "-", "-out", "-"}},
		"short row":   {"clientUserId,email\na\n", "wrong number of fields", []string{"-in", "-", "-out", "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := onboard(t, srv, test.stdin, test.args...)
			require.Equal(t, 2, code, stderr)
			require.Contains(t, stderr, test.want)
			require.Empty(t, stdout)
		})
	}
	require.Empty(t, srv.Requests(), "nothing was sent")
}
