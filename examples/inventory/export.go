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

// export is where a list goes, and how.
type export struct {
	program *cli.Program
	format  string
	out     string
	since   string
}

// write writes a list as it is read.
func write[T any](ctx context.Context, e *export, what string, columns []string, row func([]string, T) []string, pages iter.Seq2[*appsandbooks.Page[T], error]) error {
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
	bar := e.bar(what)
	read, count := 0, 0 // pages and records
	for page, err := range pages {
		if err != nil {
			bar.clear()
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return finish(fmt.Errorf("reading %s: %w", what, err))
		}
		for _, record := range page.Items {
			if err := encode(record); err != nil {
				bar.clear()
				return finish(fmt.Errorf("writing %s: %w", what, err))
			}
		}
		count += len(page.Items)
		read++
		bar.show(read, page.TotalPages, count)
		last = page
	}
	bar.clear()
	if err := finish(flush()); err != nil {
		return err
	}
	if e.since != "" && last.Full {
		e.program.Notef("the service does not know version %s any more: this is everything", e.since)
	}
	if last.Changed {
		e.program.Notef("the data changed meanwhile: records can be there twice, or missing")
	}
	note := fmt.Sprintf("%d %s", count, what)
	if last.FirstVersionID != "" {
		note += "; version " + last.FirstVersionID
	}
	e.program.Notef("%s", note)
	return nil
}

// open gives the writer of the list. What finish gets is what became of it; a
// file takes its name only when that is nothing.
func (e *export) open() (to io.Writer, finish func(error) error, err error) {
	if e.out == "-" {
		return e.program.Stdout, func(err error) error { return err }, nil
	}
	file, err := os.CreateTemp(filepath.Dir(e.out), filepath.Base(e.out)+".part-*")
	if err != nil {
		return nil, nil, err
	}
	return file, func(err error) error {
		if closing := file.Close(); err == nil {
			err = closing
		}
		if err == nil {
			err = os.Chmod(file.Name(), 0o600) // it names people
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

// bar makes a bar where a person sees it and the list does not run through it.
func (e *export) bar(what string) bar {
	p := e.program
	if !cli.IsTerminal(p.Stderr) || p.Verbose() || e.out == "-" && cli.IsTerminal(p.Stdout) {
		return bar{}
	}
	return bar{progressbar.NewOptions(-1,
		progressbar.OptionSetWriter(p.Stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

func (b bar) show(pages, total, records int) {
	if b.ProgressBar == nil {
		return
	}
	b.Describe(fmt.Sprintf("%d records", records))
	if total > 0 {
		b.ChangeMax(max(total, pages+1)) // a full bar would be a finished one
	}
	_ = b.Set(pages)
}

func (b bar) clear() {
	if b.ProgressBar != nil {
		_ = b.Clear()
	}
}
