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

// list is the people of an input.
type list struct {
	header []string // without our columns
	people []*person
	byID   map[string]*person
}

// person is a row.
type person struct {
	request appsandbooks.UserRequest
	row     []string              // without our columns
	user    *appsandbooks.User    // as the service shows it; nil for none
	outcome *appsandbooks.Outcome // of what was asked for; nil for nothing
	link    string
}

// ours are the columns that are added, and replaced if they are there.
var ours = []string{"status", "inviteUrl", "outcome", "errorNumber", "errorMessage"}

func readPeople(p *cli.Program, name string) (*list, error) {
	in := p.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, cli.Usagef("reading the people: %w", err)
		}
		defer f.Close()
		in = f
	}
	l, err := parsePeople(in)
	if err != nil {
		return nil, cli.Usagef("reading the people: %s: %w", name, err)
	}
	return l, nil
}

func parsePeople(in io.Reader) (*list, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff")))) // as Excel writes it
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	column := map[string]int{} // of the names we know, in any case
	var keep []int
	l := &list{byID: map[string]*person{}}
	for i, name := range header {
		name = strings.TrimSpace(name)
		if slices.ContainsFunc(ours, func(o string) bool { return strings.EqualFold(o, name) }) {
			continue
		}
		keep = append(keep, i)
		l.header = append(l.header, name)
		key := strings.ToLower(name)
		if first, twice := column[key]; twice {
			return nil, fmt.Errorf("two columns have the same name: %d and %d", first+1, i+1)
		}
		column[key] = i
	}
	if _, ok := column["clientuserid"]; !ok {
		return nil, errors.New("it has no column clientUserId")
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
			return nil, fmt.Errorf("line %d has the clientUserId of an earlier line", line)
		default:
			l.byID[id] = p
			l.people = append(l.people, p)
		}
	}
}

// output is where the results go. A file is complete or as it was before.
type output struct {
	stdout io.Writer // nil for a file
	file   *os.File  // gets its name in the end
	name   string
}

// createOutput finds out whether it can be written before anything is sent.
func createOutput(p *cli.Program, name string) (*output, error) {
	if name == "-" || name == "" {
		return &output{stdout: p.Stdout}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".onboard-*") // for its owner only: links are as good as keys
	if err != nil {
		return nil, cli.Usagef("creating the output: %w", err)
	}
	p.OnExit(func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	})
	return &output{file: f, name: name}, nil
}

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

func (l *list) csv() []byte {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	_ = w.Write(append(slices.Clone(l.header), ours...))
	for _, person := range l.people {
		outcome, why := person.result()
		status, number, message := "", "", ""
		if person.user != nil {
			status = string(person.user.Status)
		}
		var e *appsandbooks.Error
		if errors.As(why, &e) && e.Number != 0 {
			number = strconv.Itoa(int(e.Number))
		}
		if why != nil {
			message = strings.TrimPrefix(why.Error(), "appsandbooks: ")
		}
		_ = w.Write(append(slices.Clone(person.row), status, person.link, outcome, number, message))
	}
	w.Flush()
	return text.Bytes()
}
