package appsandbooks_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goFiles returns the names of the Go files in the repository, in a map by directory, for all
// modules.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || path != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			files[filepath.Dir(path)] = append(files[filepath.Dir(path)], d.Name())
		}
		return nil
	}))
	return files
}

// testsWithoutSource matches the names of test files that belong to no source file: suites,
// examples and helpers.
var testsWithoutSource = regexp.MustCompile(`^(suite_.*|example_.*|example|helpers)_test\.go$`)

// testOf returns the name of the source file that a test file tests, without .go.
func testOf(file string) string {
	name := strings.TrimSuffix(file, "_test.go")
	for _, suffix := range []string{"_internal", "_bench"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// Each test file has the name of a source file in the same directory, except suites, examples and
// helpers. CONTRIBUTING.md states the rule.
func TestLayout_testFilesAreBesideTheirSource(t *testing.T) {
	for dir, files := range goFiles(t) {
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") && !testsWithoutSource.MatchString(file) {
				assert.True(t, slices.Contains(files, testOf(file)+".go"), "%s has no %s.go beside it", filepath.Join(dir, file), testOf(file))
			}
		}
	}
}

// Each source file of the library has a test file with the same name, except the files that
// have nothing to test by themselves. The library is the root package with its internal
// packages, the stand-in and postgres.
func TestLayout_sourceFilesHaveTests(t *testing.T) {
	untested := map[string]string{
		"doc.go":                           "comments only",
		"errors_table.go":                  "generated; the tests are in internal/errortable",
		"operation_kind.go":                "a table of the operation kinds; each kind is tested with its service",
		"appsandbookstest/doc.go":          "comments only",
		"appsandbookstest/errors.go":       "the form of an error; each error is tested with its endpoint",
		"appsandbookstest/errors_table.go": "generated; the tests are in internal/errortable",
		"appsandbookstest/wire.go":         "types only",
		"internal/apilist/main.go":         "api.txt is its test",
		"internal/contract/doc.go":         "comments only",
		"internal/errortable/render.go":    "main_test.go compares its output with the generated files",
		"internal/transport/request.go":    "types only",
		"postgres/doc.go":                  "comments only",
	}
	for dir, files := range goFiles(t) {
		if dir != "." && !strings.HasPrefix(dir, "internal") && dir != "appsandbookstest" && dir != "postgres" {
			continue
		}
		tested := map[string]bool{}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				tested[testOf(file)+".go"] = true
			}
		}
		for _, file := range files {
			path := filepath.ToSlash(filepath.Join(dir, file))
			if !strings.HasSuffix(file, "_test.go") {
				assert.NotEqual(t, untested[path] != "", tested[file], "%s: it needs a test file of its name, or is in the list above", path)
			}
		}
	}
}

// The name of a source file of the root package begins with the subject that it belongs to.
func TestLayout_sourceFilesBeginWithTheirSubject(t *testing.T) {
	subjects := regexp.MustCompile(`^(assets|assignments|client|config|doc|errors|events|list|notifications|operation|secret|subscriptions|time|token|users)(_[a-z]+)?\.go$`)
	for _, file := range goFiles(t)["."] {
		if !strings.HasSuffix(file, "_test.go") {
			assert.Regexp(t, subjects, file)
		}
	}
}

// No Go file of the repository is longer than 600 lines.
func TestLayout_filesAreShort(t *testing.T) {
	for dir, files := range goFiles(t) {
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			assert.LessOrEqual(t, bytes.Count(text, []byte("\n")), 600, "%s", filepath.Join(dir, file))
		}
	}
}

// The name of a test of the library begins with the exported identifier that it tests.
func TestLayout_testsAreNamedAfterWhatTheyTest(t *testing.T) {
	text, err := os.ReadFile("api.txt")
	require.NoError(t, err)
	exported := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^pkg appsandbooks, (?:const|var|type|func|method \([^)]*\)) ([A-Z]\w*)`).FindAllSubmatch(text, -1) {
		exported[string(m[1])] = true
	}
	declared := regexp.MustCompile(`(?m)^func Test(\w+)\(t \*testing\.T\)`)
	for _, file := range goFiles(t)["."] {
		if !strings.HasSuffix(file, "_test.go") || testsWithoutSource.MatchString(file) {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			subject, _, _ := strings.Cut(string(m[1]), "_")
			assert.True(t, exported[subject], "%s: Test%s does not begin with an exported name", file, m[1])
		}
	}
}
