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

// Values of -action.
const (
	associate    = "associate"
	disassociate = "disassociate"
)

// target is a user or a device.
type target struct {
	id     string
	device bool
}

// pair is a row's asset and target, by their places in the input's tables.
type pair struct{ asset, target int32 }

// input is a CSV file. Of its rows it holds only the pairs, by number, so that
// a million of them stay small; the text is read again for the output.
type input struct {
	file    io.ReadSeeker
	rows    []pair // in their order, with repetitions
	assets  []appsandbooks.AssetID
	targets []target

	assetAt  map[appsandbooks.AssetID]int32
	targetAt map[target]int32
}

// openInput reads a file, or standard input by way of a temporary file. The
// error is one of usage when it is the content's fault.
func openInput(p *cli.Program, path string) (*input, error) {
	file, err := openOrSpool(p, path)
	if err != nil {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	in := &input{file: file, assetAt: map[appsandbooks.AssetID]int32{}, targetAt: map[target]int32{}}
	if err := in.read(); err != nil {
		return nil, err
	}
	return in, nil
}

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

// read takes in all rows. It names the first few that are wrong.
func (in *input) read() error {
	r, err := newReader(in.file)
	if err != nil {
		return cli.Usagef("input: %w", err)
	}
	const most = 10
	var wrong []error
	for {
		_, asset, target, err := r.next()
		var bad *rowError
		switch {
		case errors.Is(err, io.EOF) && len(wrong) > 0:
			return cli.Usagef("input: %w", errors.Join(wrong...))
		case errors.Is(err, io.EOF) && len(in.rows) == 0:
			return cli.Usagef("input: no rows")
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			if wrong = append(wrong, err); len(wrong) == most {
				return cli.Usagef("input: %w\nand perhaps more", errors.Join(wrong...))
			}
		case err != nil:
			return cli.Usagef("input: %w", err)
		default:
			in.rows = append(in.rows, pair{in.asset(asset), in.target(target)})
		}
	}
}

// asset is the place of an asset in the table. Strings are cloned, for those
// of a CSV reader hold on to their whole row.
func (in *input) asset(id appsandbooks.AssetID) int32 {
	i, ok := in.assetAt[id]
	if !ok {
		id.AdamID = strings.Clone(id.AdamID)
		id.PricingParam = appsandbooks.PricingParam(strings.Clone(string(id.PricingParam)))
		i = int32(len(in.assets))
		in.assets = append(in.assets, id)
		in.assetAt[id] = i
	}
	return i
}

func (in *input) target(t target) int32 {
	i, ok := in.targetAt[t]
	if !ok {
		t.id = strings.Clone(t.id)
		i = int32(len(in.targets))
		in.targets = append(in.targets, t)
		in.targetAt[t] = i
	}
	return i
}

// plan plans the change of all rows.
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

// reader reads rows of CSV.
type reader struct {
	csv     *csv.Reader
	header  []string
	asset   int // column of adamId
	pricing int // columns that may be missing: -1
	user    int
	device  int
}

// newReader reads the header. What it finds instead it does not repeat: ids, or
// a content token.
func newReader(r io.Reader) (*reader, error) {
	text := bufio.NewReaderSize(r, 1<<16)
	if bom, _ := text.Peek(3); string(bom) == "\ufeff" {
		_, _ = text.Discard(3)
	}
	rows := csv.NewReader(text)
	header, err := rows.Read()
	if err == io.EOF {
		return nil, errors.New("it is empty; the first line must name the columns")
	}
	if err != nil {
		return nil, err
	}
	in := &reader{csv: rows, header: header}
	rows.ReuseRecord = true
	for name, column := range map[string]*int{
		"adamId": &in.asset, "pricingParam": &in.pricing, "clientUserId": &in.user, "serialNumber": &in.device,
	} {
		is := func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), name) }
		*column = slices.IndexFunc(header, is)
		if *column >= 0 && slices.ContainsFunc(header[*column+1:], is) {
			return nil, fmt.Errorf("line 1: the column %s is there twice", name)
		}
	}
	switch {
	case in.asset < 0:
		return nil, errors.New("line 1: no column adamId; the columns must be separated by commas")
	case in.user < 0 && in.device < 0:
		return nil, errors.New("line 1: neither a column clientUserId nor a column serialNumber")
	}
	return in, nil
}

// rowError is a row that makes no sense.
type rowError struct {
	line int
	text string
}

func (e *rowError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.text) }

// next reads a row. The record is valid until the next call.
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
	wrong := ""
	switch {
	case strings.Trim(asset.AdamID, "0123456789") != "" || asset.AdamID == "":
		wrong = fmt.Sprintf("adamId must be a number, not %q", asset.AdamID)
	case user == "" && device == "":
		wrong = "neither clientUserId nor serialNumber"
	case user != "" && device != "":
		wrong = "both clientUserId and serialNumber; make two rows of it"
	}
	if wrong != "" {
		line, _ := r.csv.FieldPos(0)
		return nil, asset, t, &rowError{line, wrong}
	}
	if device != "" {
		return record, asset, target{device, true}, nil
	}
	return record, asset, target{user, false}, nil
}
