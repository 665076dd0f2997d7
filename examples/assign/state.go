package main

import (
	"context"
	"fmt"
	"os"
)

// stateFile is the file with the journal of the operation. Each entry is appended to
// the file and synced, so that no request is lost in a crash. The file is created
// with the first entry, before the operation sends its first request.
type stateFile struct {
	path     string
	existing bool // the file must exist, because -resume continues it
	file     *os.File
}

// append writes a journal entry to the state file. It is the hook for
// [appsandbooks.WithJournal].
func (s *stateFile) append(_ context.Context, entry []byte) error {
	if s.file == nil {
		// O_EXCL prevents that two runs use the same state file.
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

// remove deletes the state file if it exists.
func (s *stateFile) remove() error {
	s.close()
	if err := os.Remove(s.path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("removing the state file: %w", err)
	}
	return nil
}
