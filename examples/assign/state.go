package main

import (
	"context"
	"fmt"
	"os"
)

// stateFile is the journal of the operation: a file that is appended to and
// synced, so that not even a crash forgets a request. It comes into being with
// the first entry, which is before anything is sent.
type stateFile struct {
	path     string
	existing bool // there is one to go on with
	file     *os.File
}

// append is an [appsandbooks.Journal].
func (s *stateFile) append(_ context.Context, entry []byte) error {
	if s.file == nil {
		// Two runs must not share a file.
		flags := os.O_CREATE | os.O_EXCL
		if s.existing {
			flags = 0
		}
		file, err := os.OpenFile(s.path, flags|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		s.file = file
	}
	if _, err := s.file.Write(entry); err != nil {
		return err
	}
	return s.file.Sync()
}

func (s *stateFile) close() {
	if s.file != nil {
		_ = s.file.Close() // each entry was synced
		s.file = nil
	}
}

// remove deletes the file, if there is one.
func (s *stateFile) remove() error {
	s.close()
	if err := os.Remove(s.path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("removing the state file: %w", err)
	}
	return nil
}
