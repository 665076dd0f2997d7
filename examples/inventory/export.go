package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// export contains the values of the flags for an export.
type export struct {
	program *cli.Program
	format  string
	out     string
	since   string
}

// write writes the records of a list while it reads them. The parameter kind is the
// name of the records in the plural, and row appends the fields of a record to a
// slice.
func write[T any](ctx context.Context, e *export, kind string, columns []string, row func([]string, T) []string, pages iter.Seq2[*appsandbooks.Page[T], error]) error {
	to, finish, err := e.open()
	if err != nil {
		return err
	}
	var encode func(T) error
	var flush func() error
	if e.format == "csv" {
		w := csv.NewWriter(to)
		cells := make([]string, 0, len(columns))
		encode = func(record T) error { return w.Write(row(cells, record)) }
		flush = func() error { w.Flush(); return w.Error() }
		err = w.Write(columns)
	} else {
		w := bufio.NewWriterSize(to, 64<<10)
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encode = func(record T) error { return encoder.Encode(record) }
		flush = w.Flush
	}
	if err != nil {
		return finish(err)
	}

	last := new(appsandbooks.Page[T])
	bar := e.newBar(kind)
	pagesRead, count := 0, 0
	for page, err := range pages {
		if err != nil {
			bar.clear()
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return finish(fmt.Errorf("reading %s: %w", kind, err))
		}
		for _, record := range page.Items {
			if err := encode(record); err != nil {
				bar.clear()
				return finish(fmt.Errorf("writing %s: %w", kind, err))
			}
		}
		count += len(page.Items)
		pagesRead++
		bar.show(pagesRead, page.TotalPages, count)
		last = page
	}
	bar.clear()
	if err := finish(flush()); err != nil {
		return err
	}
	if e.since != "" && last.Full {
		e.program.Notef("the service does not have version %s any more; exported all %s", e.since, kind)
	}
	if last.Changed {
		e.program.Notef("warning: the data changed during the export; records can be missing or repeated")
	}
	note := fmt.Sprintf("exported %d %s", count, kind)
	if last.FirstVersionID != "" {
		note += "; version " + last.FirstVersionID
	}
	e.program.Notef("%s", note)
	return nil
}

// open opens the output of the export. The caller must call finish with the error of
// the export. If this error is nil, finish gives the output file its name. Otherwise
// finish removes the file. finish returns the first error.
func (e *export) open() (to io.Writer, finish func(error) error, err error) {
	if e.out == "-" {
		return e.program.Stdout, func(err error) error { return err }, nil
	}
	file, err := os.CreateTemp(filepath.Dir(e.out), filepath.Base(e.out)+".part-*")
	if err != nil {
		return nil, nil, err
	}
	return file, func(err error) error {
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			err = os.Chmod(file.Name(), 0o600) // the file contains ids of people
		}
		if err == nil {
			err = os.Rename(file.Name(), e.out)
		}
		if err != nil {
			_ = os.Remove(file.Name())
		}
		return err
	}, nil
}

// bar is a progress bar; the zero value shows nothing.
type bar struct{ *progressbar.ProgressBar }

// newBar returns a bar that is shown if standard error is a terminal, -v is not
// given, and the export does not go to the same terminal.
func (e *export) newBar(kind string) bar {
	p := e.program
	if !cli.IsTerminal(p.Stderr) || p.Verbose() || e.out == "-" && cli.IsTerminal(p.Stdout) {
		return bar{}
	}
	return bar{progressbar.NewOptions(-1,
		progressbar.OptionSetWriter(p.Stderr),
		progressbar.OptionSetDescription(kind),
		progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// show shows how many pages and records the export has read. The parameter total is
// the number of all pages, or 0 if it is unknown.
func (b bar) show(pages, total, records int) {
	if b.ProgressBar == nil {
		return
	}
	b.Describe(fmt.Sprintf("%d records", records))
	if total > 0 {
		b.ChangeMax(max(total, pages+1)) // a full bar would disappear, so the maximum stays higher
	}
	_ = b.Set(pages)
}

func (b bar) clear() {
	if b.ProgressBar != nil {
		_ = b.Clear()
	}
}
