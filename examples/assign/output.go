package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// result is the outcome of a pair as fields of the output file: outcome,
// errorNumber, errorMessage.
type result [3]string

var resultHeader = result{"outcome", "errorNumber", "errorMessage"}

// results contains the different results of an operation. Pairs with the same
// status and the same error share a result.
type results struct {
	all   []result
	known map[appsandbooks.OutcomeStatus]map[error]int32
}

// add returns the index in r.all of the result for an outcome.
func (r *results) add(o appsandbooks.Outcome) int32 {
	i, ok := r.known[o.Status][o.Err]
	if !ok {
		if r.known == nil {
			r.known = map[appsandbooks.OutcomeStatus]map[error]int32{}
		}
		if r.known[o.Status] == nil {
			r.known[o.Status] = map[error]int32{}
		}
		i = int32(len(r.all))
		r.all = append(r.all, describe(o))
		r.known[o.Status][o.Err] = i
	}
	return i
}

// describe returns the fields of the output file for the outcome of a pair.
func describe(o appsandbooks.Outcome) result {
	r := result{string(o.Status)}
	var e *appsandbooks.Error
	if errors.As(o.Err, &e) && e.Number != 0 {
		r[1] = strconv.Itoa(int(e.Number))
	}
	if o.Err != nil {
		text := strings.TrimPrefix(o.Err.Error(), "appsandbooks: ")
		r[2] = strings.ReplaceAll(text, "\n", "; ")
	}
	return r
}

// joined contains the result of each pair of an input file.
type joined struct {
	results
	index map[pair]int32 // into results.all
}

// join finds the result of each pair of the input file. It fails unless the input
// file and the report contain the same pairs.
func (in *input) join(report *appsandbooks.Report) (*joined, error) {
	j := &joined{index: make(map[pair]int32, len(in.rows))}
	for _, row := range in.rows {
		j.index[row] = 0
	}
	if len(j.index) != report.Total {
		return nil, fmt.Errorf("the input has %d different pairs, and the run has %d", len(j.index), report.Total)
	}
	missing := 0
	for o := range report.Outcomes() {
		asset, ok1 := in.assetIndex[appsandbooks.AssetID{AdamID: o.AdamID, PricingParam: o.PricingParam}]
		target, ok2 := in.targetIndex[target{o.ClientUserID + o.SerialNumber, o.SerialNumber != ""}]
		key := pair{asset, target}
		if _, ok := j.index[key]; !ok || !ok1 || !ok2 {
			missing++
			continue
		}
		j.index[key] = j.add(o)
	}
	if missing > 0 {
		return nil, fmt.Errorf("%d of the run's %d pairs are not in the input", missing, report.Total)
	}
	return j, nil
}

// writeOutput writes the rows of the input file with their outcomes, and closes the
// output file. If in is nil, writeOutput writes the pairs of the report instead of
// rows.
func writeOutput(out io.WriteCloser, in *input, report *appsandbooks.Report) error {
	w := csv.NewWriter(out)
	var err error
	if in != nil {
		err = writeRows(w, in, report)
	} else {
		err = writePairs(w, report)
	}
	if err != nil {
		return err
	}
	w.Flush()
	return errors.Join(w.Error(), out.Close())
}

// writePairs writes the pairs of the operation's report with their outcomes.
func writePairs(w *csv.Writer, report *appsandbooks.Report) error {
	var r results
	record := append([]string{"adamId", "pricingParam", "clientUserId", "serialNumber"}, resultHeader[:]...)
	if err := w.Write(record); err != nil {
		return err
	}
	for o := range report.Outcomes() {
		record = append(record[:0], o.AdamID, string(o.PricingParam), o.ClientUserID, o.SerialNumber)
		if err := w.Write(append(record, r.all[r.add(o)][:]...)); err != nil {
			return err
		}
	}
	return nil
}

// writeRows reads the input file again and writes its rows with their outcomes.
func writeRows(w *csv.Writer, in *input, report *appsandbooks.Report) error {
	outcomes, err := in.join(report)
	if err != nil {
		return err
	}
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := newReader(in.file)
	if err != nil {
		return fmt.Errorf("reading the input again: %w", err)
	}
	// The input file can be the output file of another run. Its outcome columns are
	// replaced.
	var keep []int
	for i, name := range r.header {
		if !slices.Contains(resultHeader[:], strings.TrimSpace(name)) {
			keep = append(keep, i)
		}
	}
	record := make([]string, 0, len(r.header)+len(resultHeader))
	write := func(row []string, added result) error {
		record = record[:0]
		for _, i := range keep {
			record = append(record, row[i])
		}
		return w.Write(append(record, added[:]...))
	}
	if err := write(r.header, resultHeader); err != nil {
		return err
	}
	for i, row := range in.rows {
		fields, asset, target, err := r.next()
		if err != nil {
			return fmt.Errorf("reading the input again: row %d: %w", i+1, err)
		}
		if asset != in.assets[row.asset] || target != in.targets[row.target] {
			return fmt.Errorf("reading the input again: row %d was changed during the run", i+1)
		}
		if err := write(fields, outcomes.all[outcomes.index[row]]); err != nil {
			return err
		}
	}
	return nil
}

// createOutput opens the output file before the program sends a request, so that the
// service changes nothing if the path is wrong. A regular file has the name
// path.partial until it is complete.
func createOutput(p *cli.Program, path string) (io.WriteCloser, error) {
	if path == "-" {
		return nopCloser{p.Stdout}, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.OpenFile(path, os.O_WRONLY, 0) // a pipe, or /dev/null
	}
	file, err := os.Create(path + ".partial")
	if err != nil {
		return nil, fmt.Errorf("creating the output: %w", err)
	}
	out := &outputFile{file, path}
	p.OnExit(func() {
		_ = file.Close()
		_ = os.Remove(file.Name()) // Remove fails if the file was renamed, and that is no error
	})
	return out, nil
}

// outputFile is a file that has a temporary name until it is closed.
type outputFile struct {
	*os.File
	path string
}

func (f *outputFile) Close() error {
	if err := f.File.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), f.path)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
