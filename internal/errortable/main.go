// Errortable writes every list of Apple's error numbers from one table,
// internal/errortable/errors.json. It runs in the root of the repository, as
// part of go generate:
//
//	go run ./internal/errortable
//
// It writes errors_table.go and appsandbookstest/errors_table.go, and replaces
// the lines of the tables in doc.go and docs/operations.md.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const tablePath = "internal/errortable/errors.json"

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "errortable:", err)
		os.Exit(1)
	}
}

// run writes the generated files below the directory root whose content is not current.
func run(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(root, name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, files[name]) { //nolint:gosec // the paths are constants
			continue
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil { //nolint:gosec // source code is readable by all
			return err
		}
	}
	return nil
}

// An entry is one error number of the service. All fields are required, except
// those whose comment says that they can be absent.
type entry struct {
	Number   int    `json:"number"`
	Constant string `json:"constant"` // name of the SDK's constant
	// Meaning is a clause without a period. ErrorNumber.Error returns it, and the
	// comment of the constant begins with "<constant> means that <meaning>."
	Meaning string `json:"meaning"`
	// Comment replaces the first sentence of the constant's comment. It can be absent.
	Comment string `json:"comment"`
	// Action is what a programmer must do. It is short, because it must fit on a
	// line of the table in doc.go.
	Action string `json:"action"`
	// Groups lists the predicates of the SDK that report true for the number, by
	// the names in the variable groups. It can be absent.
	Groups   []string `json:"groups"`
	Operator operator `json:"operator"`
	StandIn  standIn  `json:"standIn"`
}

// An operator holds the last two columns of the table in docs/operations.md.
type operator struct {
	Who  string `json:"who"` // one of actors
	What string `json:"what"`
}

// A standIn holds what the stand-in, package appsandbookstest, answers for an error
// number.
type standIn struct {
	// Name is the name of the stand-in's constant, without the prefix num. It is
	// absent for a number that only a fault produces.
	Name    string `json:"name"`
	Status  int    `json:"status"`  // HTTP status
	Message string `json:"message"` // errorMessage
	// Listed reports whether the answer to service/config lists the number. It is
	// true for the numbers in Apple's published sample of that answer.
	Listed bool `json:"listed"`
}

// groups maps the name of a group to the predicate that uses it.
var groups = map[string]string{
	"auth":      "IsAuth",
	"forbidden": "IsForbidden",
	"limit":     "isLimit",
	"notFound":  "IsNotFound",
	"retryable": "IsRetryable",
}

// actors are the values of the column "who acts" in docs/operations.md.
var actors = []string{"you", "the SDK", "the SDK, then you"}

// generate returns the contents of the generated files, by their paths below root.
func generate(root string) (map[string][]byte, error) {
	var failed error
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(root, name)) //nolint:gosec // the paths are constants
		failed = errors.Join(failed, err)
		return data
	}
	data, doc, operations := read(tablePath), read("doc.go"), read("docs/operations.md")
	if failed != nil {
		return nil, failed
	}
	table, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tablePath, err)
	}
	files := map[string][]byte{}
	for _, file := range []struct {
		name   string
		render func() ([]byte, error)
	}{
		{"errors_table.go", func() ([]byte, error) { return sdk(table) }},
		{"appsandbookstest/errors_table.go", func() ([]byte, error) { return catalog(table) }},
		{"doc.go", func() ([]byte, error) { return replaceLines(doc, "//\t9", docLines(table)) }},
		{"docs/operations.md", func() ([]byte, error) { return replaceLines(operations, "| 9", rows(table)) }},
	} {
		if files[file.name], err = file.render(); err != nil {
			return nil, fmt.Errorf("%s: %w", file.name, err)
		}
	}
	return files, nil
}

// parse decodes and checks the table of error numbers.
func parse(data []byte) ([]entry, error) {
	var table []entry
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&table); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the list")
	}
	return table, check(table)
}

var (
	constantName = regexp.MustCompile(`^Err[A-Z][A-Za-z0-9]*$`)
	standInName  = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
)

// check returns every mistake in the table of error numbers.
func check(table []entry) error {
	if len(table) == 0 {
		return errors.New("the list is empty")
	}
	c := checker{longest: longest(table), constants: map[string]int{}, names: map[string]int{}}
	for _, e := range table {
		c.entry = e
		c.checkNumber()
		c.checkNames()
		c.checkTexts()
		c.checkValues()
		c.previous = e.Number
	}
	return errors.Join(c.mistakes...)
}

// checker checks the entries of the table of error numbers, in their order.
type checker struct {
	entry
	previous  int            // number of the previous entry; 0 at the first entry
	longest   int            // length of the longest name of a constant in the table
	constants map[string]int // error number of each constant that was checked so far
	names     map[string]int // error number of each stand-in name that was checked so far
	mistakes  []error
}

func (c *checker) mistake(format string, args ...any) {
	c.mistakes = append(c.mistakes, fmt.Errorf("%d %s: %s", c.Number, c.Constant, fmt.Sprintf(format, args...)))
}

func (c *checker) checkNumber() {
	if c.Number < 9000 || c.Number > 9999 { // replaceLines finds the lines of a table by their first digit, 9
		c.mistake("the number must be between 9000 and 9999")
	}
	switch {
	case c.Number == c.previous:
		c.mistake("the number appears twice")
	case c.Number < c.previous:
		c.mistake("the number must come before %d", c.previous)
	}
}

func (c *checker) checkNames() {
	if !constantName.MatchString(c.Constant) {
		c.mistake("the constant must be a Go name that begins with Err and a capital letter")
	}
	if first, twice := c.constants[c.Constant]; twice {
		c.mistake("%d has the same constant", first)
	}
	c.constants[c.Constant] = c.Number
	name := c.StandIn.Name
	if name == "" {
		return
	}
	if !standInName.MatchString(name) {
		c.mistake("the stand-in's name %q must be a Go name that begins with a capital letter", name)
	}
	if first, twice := c.names[name]; twice {
		c.mistake("%d has the same name in the stand-in", first)
	}
	c.names[name] = c.Number
}

func (c *checker) checkTexts() {
	for _, text := range []struct {
		field, text string
		sentence    bool
	}{
		{"meaning", c.Meaning, false},
		{"action", c.Action, true},
		{"operator.who", c.Operator.Who, false},
		{"operator.what", c.Operator.What, true},
		{"standIn.message", c.StandIn.Message, true},
	} {
		if problem := textProblem(text.text, text.sentence); problem != "" {
			c.mistake("%s %s", text.field, problem)
		}
	}
	if c.Comment != "" {
		if problem := textProblem(c.Comment, true); problem != "" {
			c.mistake("comment %s", problem)
		}
		if !strings.HasPrefix(c.Comment, c.Constant+" ") {
			c.mistake("comment must begin with the constant")
		}
	}
	if line := docLine(c.entry, c.longest); len([]rune(line)) > maxColumns {
		c.mistake("action is %d characters too long for a line of doc.go", len([]rune(line))-maxColumns)
	}
}

func (c *checker) checkValues() {
	for i, group := range c.Groups {
		if groups[group] == "" {
			c.mistake("the group %q is unknown; the groups are %s", group, strings.Join(slices.Sorted(maps.Keys(groups)), ", "))
		}
		if slices.Contains(c.Groups[:i], group) {
			c.mistake("the group %q appears twice", group)
		}
	}
	if c.Operator.Who != "" && !slices.Contains(actors, c.Operator.Who) {
		c.mistake("operator.who is %q; it must be one of: %s", c.Operator.Who, strings.Join(actors, "; "))
	}
	if c.StandIn.Status < 400 || c.StandIn.Status > 599 {
		c.mistake("standIn.status is %d; it must be between 400 and 599", c.StandIn.Status)
	}
}

// textProblem returns what is wrong with a text, or "". A sentence ends with a
// period; other texts do not.
func textProblem(text string, sentence bool) string {
	switch {
	case strings.TrimSpace(text) == "":
		return "is empty"
	case strings.TrimSpace(text) != text:
		return "begins or ends with a space"
	case strings.ContainsFunc(text, unicode.IsControl):
		return "has a line break or another control character"
	case strings.Contains(text, "|"):
		return "has a |, which ends a cell of a Markdown table"
	case sentence && !strings.HasSuffix(text, "."):
		return "must end with a period"
	case !sentence && strings.HasSuffix(text, "."):
		return "must not end with a period"
	}
	return ""
}
