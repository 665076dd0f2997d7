package appsandbooks_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// filesWithSuffix returns the contents of the repository's files whose names end with suffix, in
// a map by path.
func filesWithSuffix(t *testing.T, suffix string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	}))
	return files
}

// trimmedLines returns the lines of code without surrounding white space and without
// empty lines.
func trimmedLines(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

var goBlockPattern = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// Every block of Go code in a Markdown file, and the example in the package documentation, also
// occurs line by line in a Go file of the repository, which is compiled.
func TestDocsShowCodeThatCompiles(t *testing.T) {
	var source strings.Builder
	for name, text := range filesWithSuffix(t, ".go") {
		if name != "suite_docs_test.go" {
			source.WriteString("\n" + trimmedLines(text))
		}
	}
	all, blocks := source.String(), 0
	for name, text := range filesWithSuffix(t, ".md") {
		for _, block := range goBlockPattern.FindAllStringSubmatch(text, -1) {
			blocks++
			if !strings.Contains(all, "\n"+trimmedLines(block[1])) {
				t.Errorf("%s: this code is in no Go file; put it into example_guides_test.go:\n%s", name, block[1])
			}
		}
	}
	assert.Greater(t, blocks, 10)

	var code strings.Builder
	for _, file := range parsePackage(t) {
		if file.Doc != nil {
			for line := range strings.Lines(file.Doc.Text()) {
				if strings.HasPrefix(line, "\t") && !regexp.MustCompile(`^\t9\d{3} `).MatchString(line) {
					code.WriteString(line)
				}
			}
		}
	}
	assert.Contains(t, all, "\n"+trimmedLines(code.String()), "the quick start of the package documentation")
}

var linkPattern = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)

// Every relative link in a Markdown file leads to a file, and to a heading if it has an
// anchor.
func TestDocsLinks(t *testing.T) {
	files := filesWithSuffix(t, ".md")
	for name, text := range files {
		for _, m := range linkPattern.FindAllStringSubmatch(text, -1) {
			target, anchor := m[1], m[2]
			if strings.Contains(target, "://") {
				continue
			}
			path := name
			if target != "" {
				path = filepath.Join(filepath.Dir(name), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if anchor != "" && !slices.Contains(headingAnchors(files[path]), anchor) {
				t.Errorf("%s: %s has no heading #%s", name, path, anchor)
			}
		}
	}
}

// headingAnchors returns the anchors that GitHub gives to the headings of a Markdown
// text.
func headingAnchors(markdown string) (all []string) {
	for line := range strings.Lines(markdown) {
		if title := strings.TrimLeft(line, "#"); title != line {
			title = strings.ToLower(strings.TrimSpace(title))
			title = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(title, "")
			all = append(all, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return all
}

// README.md has fewer than 200 lines. Each example program has a README.md of at most
// 20 lines and an entry in the index of examples.
func TestDocsReadmesAreShort(t *testing.T) {
	files := filesWithSuffix(t, "README.md")
	assert.Less(t, strings.Count(files["README.md"], "\n"), 200)
	programs, err := filepath.Glob("examples/*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, programs)
	for _, name := range programs {
		dir := filepath.Dir(name)
		text, ok := files[filepath.Join(dir, "README.md")]
		assert.True(t, ok, "%s has no README.md", dir)
		assert.LessOrEqual(t, strings.Count(text, "\n"), 20, dir)
		assert.Contains(t, files[filepath.Join("examples", "README.md")], "["+"`"+filepath.Base(dir)+"`]", "the index of examples")
	}
}

// parsePackage returns the syntax trees of the package's files, except for test files.
func parsePackage(t *testing.T) (files []*ast.File) {
	t.Helper()
	set := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	return files
}

// receiverName returns the type name of a method's receiver, or "" for a function.
func receiverName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	return fmt.Sprint(typ)
}

// The comment on each method that calls an endpoint ends with the URL of Apple's page,
// and links to Operation if the method returns an *Operation.
func TestDocsOfEndpointsLinkToApple(t *testing.T) {
	page := regexp.MustCompile(`\n\nhttps://developer\.apple\.com/documentation/devicemanagement/[a-z0-9-]+\n$`)
	// Wait, All and Pages call a method whose comment has the URL.
	withoutPage := regexp.MustCompile(`^(Wait|All|Pages)$`)
	endpoints := 0
	for _, file := range parsePackage(t) {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || !strings.HasSuffix(receiverName(f), "Service") || withoutPage.MatchString(f.Name.Name) {
				continue
			}
			endpoints++
			name, doc := receiverName(f)+"."+f.Name.Name, f.Doc.Text()
			assert.Regexp(t, page, doc, name)
			if star, ok := f.Type.Results.List[0].Type.(*ast.StarExpr); ok && fmt.Sprint(star.X) == "Operation" {
				assert.Contains(t, doc, "[Operation]", name)
			}
		}
	}
	assert.GreaterOrEqual(t, endpoints, 22)
}

// Every exported name has its own comment or that of its group.
func TestDocsCoverEveryExportedName(t *testing.T) {
	// Methods of standard interfaces need no comment.
	interfaceMethods := regexp.MustCompile(`^(Error|Unwrap|Is|String|LogValue|(Unm|M)arshal(JSON|Text)|Format)$`)
	for _, file := range parsePackage(t) {
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiverName(d))) && !interfaceMethods.MatchString(d.Name.Name) {
					assert.NotEmpty(t, d.Doc.Text(), "%s.%s", receiverName(d), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() {
							assert.NotEmpty(t, d.Doc.Text()+s.Doc.Text(), s.Name.Name)
						}
					case *ast.ValueSpec:
						for _, name := range s.Names {
							if name.IsExported() {
								assert.NotEmpty(t, d.Doc.Text()+s.Doc.Text()+s.Comment.Text(), name.Name)
							}
						}
					}
				}
			}
		}
	}
}

// The package documentation and docs/operations.md list every error number of the
// service and every error variable of the SDK.
func TestDocsListEveryError(t *testing.T) {
	operations := filesWithSuffix(t, ".md")[filepath.Join("docs", "operations.md")]
	var doc string
	numbers := 0
	files := parsePackage(t)
	for _, file := range files {
		if file.Doc != nil {
			doc += file.Doc.Text()
		}
	}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			name := v.Names[0].Name
			if v.Type == nil && strings.HasPrefix(name, "Err") { // an error variable of the SDK
				if !strings.Contains(operations, "`"+name+"`") || !strings.Contains(doc, "["+name+"]") {
					t.Errorf("%s is missing in docs/operations.md or in the package documentation", name)
				}
			}
			if fmt.Sprint(v.Type) != "ErrorNumber" {
				return true
			}
			value := v.Values[0].(*ast.BasicLit).Value
			_, err := strconv.Atoi(value)
			require.NoError(t, err)
			numbers++
			if !regexp.MustCompile(`(?m)^\| ` + value + " \\| `" + name + "` ").MatchString(operations) {
				t.Errorf("docs/operations.md has no row for %s, %s", value, name)
			}
			if !regexp.MustCompile(value + `\s+` + name + `\b`).MatchString(doc) {
				t.Errorf("the package documentation has no line for %s, %s", value, name)
			}
			return true
		})
	}
	assert.GreaterOrEqual(t, numbers, 54)
}

// Every service and every predicate for errors has an example.
func TestDocsHaveExamplesOfServicesAndPredicates(t *testing.T) {
	var all strings.Builder
	for name, text := range filesWithSuffix(t, "_test.go") {
		if !strings.Contains(name, string(filepath.Separator)) {
			for _, m := range regexp.MustCompile(`(?m)^func (Example\w*)\(\)`).FindAllStringSubmatch(text, -1) {
				all.WriteString(m[1] + "\n")
			}
		}
	}
	examples := all.String()
	assert.GreaterOrEqual(t, strings.Count(examples, "\n"), 25)
	for _, file := range parsePackage(t) {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || !f.Name.IsExported():
			case strings.HasSuffix(receiverName(f), "Service"):
				assert.Contains(t, examples, "Example"+receiverName(f)+"_")
			case receiverName(f) == "" && strings.HasPrefix(f.Name.Name, "Is"):
				assert.Contains(t, examples, "Example"+f.Name.Name+"\n")
			}
		}
	}
}

// tableInComment returns the rows of a table in a comment: the indented lines after the line that
// begins with heading, without the heading of the table, each divided into columns.
func tableInComment(comment, heading string) (rows [][]string) {
	_, rest, _ := strings.Cut(comment, heading)
	columns := regexp.MustCompile(`\s{2,}`)
	for line := range strings.Lines(strings.TrimLeft(rest, "\n")) {
		if !strings.HasPrefix(line, "\t") {
			break
		}
		rows = append(rows, columns.Split(strings.TrimSpace(line), -1))
	}
	return rows[1:]
}

// The picture in docs/how-it-works.md has the phases of internal/ledger as its nodes, and its
// facts as the arrows. Each arrow leads from and to phases that the table of the package allows,
// and the picture and the table below it have all facts. The constants of the package have the
// same names.
func TestDocsShowPhasesAndFacts(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("internal", "ledger", "ledger.go"), nil, parser.ParseComments)
	require.NoError(t, err)
	comment := file.Doc.Text()
	phases := map[string]bool{}
	for _, row := range tableInComment(comment, "in exactly one phase:\n") {
		phases[row[0]] = true
	}
	from, to := map[string]string{}, map[string]string{}
	for _, row := range tableInComment(comment, "These facts move it:\n") {
		from[row[0]], to[row[0]] = row[1], row[2]
	}
	require.Len(t, phases, 8)
	require.Greater(t, len(from), 15)

	page := filesWithSuffix(t, ".md")[filepath.Join("docs", "how-it-works.md")]
	nodes, drawn := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`<b>(\w+)</b><br/>`).FindAllStringSubmatch(page, -1) {
		nodes[m[1]] = true
	}
	assert.Equal(t, phases, nodes, "the nodes of the picture")
	for _, m := range regexp.MustCompile(`(?m)^\s+(\w+)(?:\[.*\])? -->\|"?([^|"]+)"?\| (\w+)$`).FindAllStringSubmatch(page, -1) {
		for fact := range strings.SplitSeq(m[2], ", ") {
			drawn[fact] = true
			if !assert.Contains(t, from, fact, "an arrow of the picture") {
				continue
			}
			assert.Contains(t, strings.Split(from[fact], ", "), m[1], "where the arrow %q begins", fact)
			if m[1] != m[3] || !strings.Contains(to[fact], "the same") {
				assert.Contains(t, to[fact], m[3], "where the arrow %q from %s ends", fact, m[1])
			}
		}
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z, ]+) \| `).FindAllStringSubmatch(page, -1) {
		for fact := range strings.SplitSeq(m[1], ", ") {
			explained[fact] = true
		}
	}
	delete(explained, "fact") // the heading
	for fact := range from {
		assert.True(t, drawn[fact], "the picture has no arrow %q", fact)
		assert.True(t, explained[fact], "the page does not explain %q", fact)
	}
	assert.Len(t, explained, len(from))

	for file, want := range map[string]map[string]bool{"request.go": phases, "fact.go": explained} {
		text, err := os.ReadFile(filepath.Join("internal", "ledger", file))
		require.NoError(t, err)
		typ := map[string]string{"request.go": "Phase", "fact.go": "What"}[file]
		names := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^\t\w+\s+`+typ+`\s+= "(\w+)"`).FindAllSubmatch(text, -1) {
			name := regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(string(m[1]), func(s string) string { return " " + strings.ToLower(s) })
			names[name] = true
		}
		for name := range want {
			assert.True(t, names[name], "%s has no constant %q", file, name)
		}
	}
}
