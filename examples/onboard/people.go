package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// list contains the people in the input file.
type list struct {
	header []string // without outputColumns
	people []*person
	byID   map[string]*person // by clientUserId
}

// person is a row of the input file.
type person struct {
	request appsandbooks.UserRequest
	row     []string              // without outputColumns
	user    *appsandbooks.User    // the user that the service lists for the person, or nil
	outcome *appsandbooks.Outcome // the outcome of the last request for the user; nil if none was sent
	link    string                // invitation link; empty if none is needed
}

// outputColumns are the columns that the program adds to the output. If the input
// file has these columns, they are replaced.
var outputColumns = []string{"status", "inviteUrl", "outcome", "errorNumber", "errorMessage"}

// readPeople reads the people from a CSV file, or from standard input if the name is
// "-".
func readPeople(p *cli.Program, name string) (*list, error) {
	in := p.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, cli.Usagef("reading the input: %w", err)
		}
		defer f.Close()
		in = f
	}
	l, err := parsePeople(in)
	if err != nil {
		return nil, cli.Usagef("reading the input: %s: %w", name, err)
	}
	return l, nil
}

// parsePeople reads the people from a CSV file. Its errors do not quote the file,
// because it contains ids of people.
func parsePeople(in io.Reader) (*list, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff")))) // Excel writes a byte order mark
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; its first line must name the columns")
	}
	if err != nil {
		return nil, err
	}
	column := map[string]int{} // the index of each column, by the column's name in lower case
	var keep []int
	l := &list{byID: map[string]*person{}}
	for i, name := range header {
		name = strings.TrimSpace(name)
		if slices.ContainsFunc(outputColumns, func(column string) bool { return strings.EqualFold(column, name) }) {
			continue
		}
		keep = append(keep, i)
		l.header = append(l.header, name)
		key := strings.ToLower(name)
		if first, exists := column[key]; exists {
			return nil, fmt.Errorf("columns %d and %d have the same name", first+1, i+1)
		}
		column[key] = i
	}
	if _, ok := column["clientuserid"]; !ok {
		return nil, errors.New("no column has the name clientUserId; separate columns with commas")
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return nil, err
		}
		field := func(name string) string {
			if i, ok := column[name]; ok {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		p := &person{request: appsandbooks.UserRequest{
			ClientUserID: field("clientuserid"), Email: field("email"), ManagedAppleID: field("managedappleid"),
		}}
		for _, i := range keep {
			p.row = append(p.row, row[i])
		}
		line, _ := r.FieldPos(0)
		switch id := p.request.ClientUserID; {
		case id == "":
			return nil, fmt.Errorf("line %d has no clientUserId", line)
		case l.byID[id] != nil:
			return nil, fmt.Errorf("line %d has the same clientUserId as an earlier line", line)
		default:
			l.byID[id] = p
			l.people = append(l.people, p)
		}
	}
}

// output is the destination of the results: a file or standard output. Results for a
// file are written to a temporary file, which gets its name when it is complete.
type output struct {
	stdout io.Writer // nil if the output is a file
	file   *os.File  // the temporary file
	name   string
}

// createOutput opens the output before the program sends a request, so that the
// service changes nothing if the name is wrong. The name "-" is standard output.
func createOutput(p *cli.Program, name string) (*output, error) {
	if name == "-" || name == "" {
		return &output{stdout: p.Stdout}, nil
	}
	// Only the owner can read the file, because invitation links are secret.
	f, err := os.CreateTemp(filepath.Dir(name), ".onboard-*")
	if err != nil {
		return nil, cli.Usagef("creating the output: %w", err)
	}
	p.OnExit(func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	})
	return &output{file: f, name: name}, nil
}

// write writes the results of all people, and gives the output file its name.
func (o *output) write(l *list) error {
	text := l.csv()
	if o.stdout != nil {
		_, err := o.stdout.Write(text)
		return err
	}
	_, err := o.file.Write(text)
	if err = errors.Join(err, o.file.Close()); err == nil {
		err = os.Rename(o.file.Name(), o.name)
	}
	if err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// csv returns the results of all people in CSV.
func (l *list) csv() []byte {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	_ = w.Write(append(slices.Clone(l.header), outputColumns...))
	for _, person := range l.people {
		outcome, err := person.result()
		status, number, message := "", "", ""
		if person.user != nil {
			status = string(person.user.Status)
		}
		var e *appsandbooks.Error
		if errors.As(err, &e) && e.Number != 0 {
			number = strconv.Itoa(int(e.Number))
		}
		if err != nil {
			message = strings.TrimPrefix(err.Error(), "appsandbooks: ")
		}
		_ = w.Write(append(slices.Clone(person.row), status, person.link, outcome, number, message))
	}
	w.Flush()
	return text.Bytes()
}
