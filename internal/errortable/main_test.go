package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// Every generated file must be what the generator writes from errors.json.
func TestGenerate_filesAreCurrent(t *testing.T) {
	files, err := generate(root)
	require.NoError(t, err)
	require.Len(t, files, 4)
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		if !bytes.Equal(want, got) {
			t.Errorf("%s is not current: edit internal/errortable/errors.json, then run go generate . in the root", name)
		}
	}
}

// Each number of the table must appear in every generated file.
func TestGenerate_everyFile(t *testing.T) {
	dir := copyInputs(t)
	data, err := json.Marshal([]entry{valid(9000), valid(9001)})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, tablePath), data, 0o600))

	require.NoError(t, run(dir))
	for name, want := range map[string][]string{
		"errors_table.go": {
			"\t// ErrN9001 means that a thing is wrong. Correct it.\n\tErrN9001 ErrorNumber = 9001\n",
			"\tErrN9001: \"a thing is wrong\",\n",
			"\tlimitNumbers = []ErrorNumber{ // isLimit\n\t\tErrN9000,\n\t\tErrN9001,\n\t}\n",
			"\tauthNumbers = []ErrorNumber{ // IsAuth\n\t}\n",
		},
		"appsandbookstest/errors_table.go": {
			"\tnumN9001 = 9001\n",
			"\tnumN9001: {status: 400, message: \"A thing is wrong.\", listed: true},\n",
		},
		"doc.go":             {"\n//\t9000  ErrN9000 Correct it.\n//\t9001  ErrN9001 Correct it.\n//\n"},
		"docs/operations.md": {"| 9001 | `ErrN9001` | a thing is wrong | you | Correct the thing. |\n\n"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		for _, part := range want {
			assert.Contains(t, string(text), part, name)
		}
	}

	first, err := generate(dir)
	require.NoError(t, err)
	second, err := generate(dir)
	require.NoError(t, err)
	assert.Equal(t, first, second, "the output is the same each time")
}

// A mistake in the table must stop the generator, with the number and what is
// wrong, and must leave the files as they are.
func TestCheck_mistakes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*entry) // changes the second of two entries, which has the number 9001
		want   string
	}{
		"not sorted":               {func(e *entry) { e.Number = 9000 - 1 }, "the number must come before 9000"},
		"same number":              {func(e *entry) { e.Number = 9000 }, "9000 ErrN9001: the number appears twice"},
		"number out of range":      {func(e *entry) { e.Number = 10000 }, "between 9000 and 9999"},
		"same constant":            {func(e *entry) { e.Constant = "ErrN9000" }, "9001 ErrN9000: 9000 has the same constant"},
		"constant without Err":     {func(e *entry) { e.Constant = "N9001" }, "a Go name that begins with Err"},
		"empty constant":           {func(e *entry) { e.Constant = "" }, "a Go name that begins with Err"},
		"same stand-in name":       {func(e *entry) { e.StandIn.Name = "N9000" }, "9000 has the same name in the stand-in"},
		"stand-in name with space": {func(e *entry) { e.StandIn.Name = "N 1" }, `the stand-in's name "N 1"`},
		"no meaning":               {func(e *entry) { e.Meaning = "" }, "9001 ErrN9001: meaning is empty"},
		"meaning with a period":    {func(e *entry) { e.Meaning = "no." }, "meaning must not end with a period"},
		"no action":                {func(e *entry) { e.Action = " " }, "action is empty"},
		"action without a period":  {func(e *entry) { e.Action = "Stop" }, "action must end with a period"},
		"long action":              {func(e *entry) { e.Action = strings.Repeat("a", 100) + "." }, "characters too long"},
		"comment of another":       {func(e *entry) { e.Comment = "ErrN9000 is an error." }, "comment must begin with the constant"},
		"comment without a period": {func(e *entry) { e.Comment = "ErrN9001 is an error" }, "comment must end with a period"},
		"unknown group":            {func(e *entry) { e.Groups = []string{"limits"} }, `the group "limits" is unknown; the groups are auth,`},
		"group twice":              {func(e *entry) { e.Groups = []string{"auth", "auth"} }, `the group "auth" appears twice`},
		"no actor":                 {func(e *entry) { e.Operator.Who = "" }, "operator.who is empty"},
		"unknown actor":            {func(e *entry) { e.Operator.Who = "me" }, `operator.who is "me"; it must be one of: you;`},
		"no advice":                {func(e *entry) { e.Operator.What = "" }, "operator.what is empty"},
		"advice with a line break": {func(e *entry) { e.Operator.What = "Wait.\nRetry." }, "operator.what has a line break"},
		"advice with a |":          {func(e *entry) { e.Operator.What = "Use a|b." }, "operator.what has a |"},
		"no message":               {func(e *entry) { e.StandIn.Message = "" }, "standIn.message is empty"},
		"no status":                {func(e *entry) { e.StandIn.Status = 0 }, "standIn.status is 0"},
		"status of a success":      {func(e *entry) { e.StandIn.Status = 200 }, "standIn.status is 200"},
	} {
		t.Run(name, func(t *testing.T) {
			table := []entry{valid(9000), valid(9001)}
			require.NoError(t, check(table))
			test.change(&table[1])
			require.ErrorContains(t, check(table), test.want)

			dir := copyInputs(t)
			data, err := json.Marshal(table)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, tablePath), data, 0o600))
			require.ErrorContains(t, run(dir), tablePath+": ")
			require.NoFileExists(t, filepath.Join(dir, "errors_table.go"))
		})
	}
}

// All mistakes in the table must be reported at once.
func TestCheck_reportsAll(t *testing.T) {
	table := []entry{valid(9000), valid(9001)}
	table[0].Meaning, table[1].Action = "", ""
	err := check(table)
	require.ErrorContains(t, err, "9000 ErrN9000: meaning is empty")
	require.ErrorContains(t, err, "9001 ErrN9001: action is empty")
}

// Input that is not a list of entries must be refused.
func TestParse_malformed(t *testing.T) {
	one, err := json.Marshal([]entry{valid(9000)})
	require.NoError(t, err)
	_, err = parse(one)
	require.NoError(t, err)
	for name, test := range map[string]struct{ input, want string }{
		"no JSON":       {`x`, "invalid character"},
		"empty list":    {`[]`, "the list is empty"},
		"unknown field": {strings.Replace(string(one), `"meaning"`, `"meening"`, 1), `unknown field "meening"`},
		"two lists":     {string(one) + string(one), "something follows the list"},
	} {
		_, err := parse([]byte(test.input))
		require.ErrorContains(t, err, test.want, name)
	}
}

// A table that occurs more than once in a file, or not at all, must be refused.
func TestReplaceLines(t *testing.T) {
	got, err := replaceLines([]byte("a\n| 9 x\n| 9 y\nb\n"), "| 9", []string{"| 91", "| 92", "| 93"})
	require.NoError(t, err)
	require.Equal(t, "a\n| 91\n| 92\n| 93\nb\n", string(got))

	_, err = replaceLines([]byte("a\nb\n"), "| 9", nil)
	require.ErrorContains(t, err, "no line begins with")
	_, err = replaceLines([]byte("| 9 x\na\n| 9 y\n"), "| 9", nil)
	require.ErrorContains(t, err, "in more than one place")
}

// A missing input file must stop the generator.
func TestGenerate_missingFiles(t *testing.T) {
	_, err := generate(t.TempDir())
	require.ErrorContains(t, err, "errors.json")
	require.ErrorContains(t, err, "doc.go")
}

// valid returns an entry of the table without a mistake.
func valid(number int) entry {
	name := fmt.Sprintf("N%d", number)
	return entry{
		Number: number, Constant: "Err" + name, Meaning: "a thing is wrong", Action: "Correct it.", Groups: []string{"limit"},
		Operator: operator{Who: "you", What: "Correct the thing."},
		StandIn:  standIn{Name: name, Status: 400, Message: "A thing is wrong.", Listed: true},
	}
}

// copyInputs returns a directory with the files that the generator reads.
func copyInputs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{tablePath, "doc.go", "docs/operations.md"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, data, 0o600))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "appsandbookstest"), 0o700))
	return dir
}
