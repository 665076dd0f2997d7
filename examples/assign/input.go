package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// The flag -action has one of these values.
const (
	associate    = "associate"
	disassociate = "disassociate"
)

// target is a user or a device.
type target struct {
	id     string
	device bool
}

// pair is the asset and the target of a row of the input file, as indexes into
// input.assets and input.targets.
type pair struct{ asset, target int32 }

// input is the CSV file with the pairs to change. It keeps only the pairs of the
// rows in memory, as indexes, so that a million rows need little memory. The program
// reads the text of the rows again when it writes the output file.
type input struct {
	file    io.ReadSeeker
	rows    []pair // rows are in the order of the file, with repetitions
	assets  []appsandbooks.AssetID
	targets []target

	assetIndex  map[appsandbooks.AssetID]int32
	targetIndex map[target]int32
}

// openInput opens and reads a CSV file. For "-" it copies standard input to a
// temporary file. If the content is invalid, it returns a usage error.
func openInput(p *cli.Program, path string) (*input, error) {
	file, err := openOrSpool(p, path)
	if err != nil {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	in := &input{file: file, assetIndex: map[appsandbooks.AssetID]int32{}, targetIndex: map[target]int32{}}
	if err := in.read(); err != nil {
		return nil, err
	}
	return in, nil
}

// openOrSpool opens the file with this path. For "-" it opens a temporary copy of
// standard input.
func openOrSpool(p *cli.Program, path string) (*os.File, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err == nil {
			p.OnExit(func() { _ = file.Close() })
		}
		return file, err
	}
	file, err := os.CreateTemp("", "assign-*.csv")
	if err != nil {
		return nil, err
	}
	p.OnExit(func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	})
	if _, err := io.Copy(file, p.Stdin); err != nil {
		return nil, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}

// read reads all rows of the input file. Its error names the first 10 invalid rows.
func (in *input) read() error {
	r, err := newReader(in.file)
	if err != nil {
		return cli.Usagef("input: %w", err)
	}
	const maxReported = 10
	var invalid []error
	for {
		_, asset, target, err := r.next()
		var rowErr *rowError
		switch {
		case errors.Is(err, io.EOF) && len(invalid) > 0:
			return cli.Usagef("input: %w", errors.Join(invalid...))
		case errors.Is(err, io.EOF) && len(in.rows) == 0:
			return cli.Usagef("input: the file has no rows")
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &rowErr):
			if invalid = append(invalid, err); len(invalid) == maxReported {
				return cli.Usagef("input: %w\nthe lines after these were not checked", errors.Join(invalid...))
			}
		case err != nil:
			return cli.Usagef("input: %w", err)
		default:
			in.rows = append(in.rows, pair{in.indexOfAsset(asset), in.indexOfTarget(target)})
		}
	}
}

// indexOfAsset returns the index of an asset in in.assets, and adds the asset if it
// is new. The method clones the strings, because a string from the CSV reader keeps
// the whole row in memory.
func (in *input) indexOfAsset(id appsandbooks.AssetID) int32 {
	i, ok := in.assetIndex[id]
	if !ok {
		id.AdamID = strings.Clone(id.AdamID)
		id.PricingParam = appsandbooks.PricingParam(strings.Clone(string(id.PricingParam)))
		i = int32(len(in.assets))
		in.assets = append(in.assets, id)
		in.assetIndex[id] = i
	}
	return i
}

// indexOfTarget returns the index of a target in in.targets, and adds the target if
// it is new.
func (in *input) indexOfTarget(t target) int32 {
	i, ok := in.targetIndex[t]
	if !ok {
		t.id = strings.Clone(t.id)
		i = int32(len(in.targets))
		in.targets = append(in.targets, t)
		in.targetIndex[t] = i
	}
	return i
}

// plan plans one operation for all rows of the input file, without sending a change.
func (in *input) plan(ctx context.Context, client *appsandbooks.Client, action string, opts ...appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	change := appsandbooks.AssetChange{Pairs: make([]appsandbooks.AssetPair, len(in.rows))}
	for i, row := range in.rows {
		asset, target := in.assets[row.asset], in.targets[row.target]
		pair := appsandbooks.AssetPair{AdamID: asset.AdamID, PricingParam: asset.PricingParam}
		if target.device {
			pair.SerialNumber = target.id
		} else {
			pair.ClientUserID = target.id
		}
		change.Pairs[i] = pair
	}
	opts = append(opts, appsandbooks.WithPlanOnly())
	if action == disassociate {
		return client.Assets.Disassociate(ctx, change, opts...)
	}
	return client.Assets.Associate(ctx, change, opts...)
}

// reader reads the rows of a CSV file.
type reader struct {
	csv    *csv.Reader
	header []string

	// These are the indexes of the columns in the file. An index is -1 if the file
	// does not have the column.
	asset   int
	pricing int
	user    int
	device  int
}

// newReader reads the header of a CSV file. newReader does not quote the file in its
// errors, because the file can contain ids of people or a content token.
func newReader(r io.Reader) (*reader, error) {
	text := bufio.NewReaderSize(r, 1<<16)
	if bom, _ := text.Peek(3); string(bom) == "\ufeff" {
		_, _ = text.Discard(3)
	}
	rows := csv.NewReader(text)
	header, err := rows.Read()
	if err == io.EOF {
		return nil, errors.New("the file is empty; its first line must name the columns")
	}
	if err != nil {
		return nil, err
	}
	in := &reader{csv: rows, header: header}
	rows.ReuseRecord = true
	for name, column := range map[string]*int{
		"adamId": &in.asset, "pricingParam": &in.pricing, "clientUserId": &in.user, "serialNumber": &in.device,
	} {
		hasName := func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), name) }
		*column = slices.IndexFunc(header, hasName)
		if *column >= 0 && slices.ContainsFunc(header[*column+1:], hasName) {
			return nil, fmt.Errorf("line 1: two columns have the name %s", name)
		}
	}
	switch {
	case in.asset < 0:
		return nil, errors.New("line 1: no column has the name adamId; separate columns with commas")
	case in.user < 0 && in.device < 0:
		return nil, errors.New("line 1: no column has the name clientUserId or serialNumber")
	}
	return in, nil
}

// rowError is the error about an invalid row of the input file.
type rowError struct {
	line int
	text string
}

func (e *rowError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.text) }

// next reads a row of the input file, and returns its fields, its asset and its
// target. The fields are valid until the next call. At the end of the file the error
// is io.EOF.
func (r *reader) next() (record []string, asset appsandbooks.AssetID, t target, err error) {
	record, err = r.csv.Read()
	if err != nil {
		return nil, asset, t, err
	}
	value := func(column int) string {
		if column < 0 {
			return ""
		}
		return strings.TrimSpace(record[column])
	}
	user, device := value(r.user), value(r.device)
	asset.AdamID = value(r.asset)
	if asset.PricingParam = appsandbooks.PricingParam(value(r.pricing)); asset.PricingParam == "" {
		asset.PricingParam = appsandbooks.PricingSTDQ
	}
	problem := ""
	switch {
	case strings.Trim(asset.AdamID, "0123456789") != "" || asset.AdamID == "":
		problem = fmt.Sprintf("adamId must be a number, not %q", asset.AdamID)
	case user == "" && device == "":
		problem = "clientUserId and serialNumber are empty; give one of them"
	case user != "" && device != "":
		problem = "the row has a clientUserId and a serialNumber; write a row for each"
	}
	if problem != "" {
		line, _ := r.csv.FieldPos(0)
		return nil, asset, t, &rowError{line, problem}
	}
	if device != "" {
		return record, asset, target{device, true}, nil
	}
	return record, asset, target{user, false}, nil
}
