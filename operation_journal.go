package appsandbooks

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// savedVersion is the version of the saved form and of the journal. Resume rejects any other
// version, such as that of a later SDK.
const savedVersion = 2

// record applies facts to the ledger and writes them to the journal as one entry, a JSON
// array. Then it calls the progress callback. If the journal does not have the whole
// operation, for example because writing an earlier entry failed, the entry is the whole
// operation. No lock is held during the callbacks. Only the call that carries out the
// operation uses record.
func (op *Operation) record(ctx context.Context, facts ...ledger.Fact) error {
	op.mu.Lock()
	for i := range facts {
		facts[i].Number = op.ledger.Facts() + 1
		if err := op.ledger.Apply(facts[i]); err != nil {
			op.mu.Unlock()
			return fmt.Errorf("appsandbooks: a bug in the SDK: %w", err)
		}
	}
	var progress Progress
	if op.opts.progress != nil {
		progress = op.progress()
	}
	var entry []byte
	var err error
	switch {
	case op.opts.journal == nil:
	case op.running.journaled:
		entry, err = json.Marshal(facts)
	default:
		entry, err = op.saved()
	}
	op.mu.Unlock()
	if err == nil && entry != nil {
		err = op.writeEntry(ctx, entry)
	}
	if op.opts.progress != nil {
		op.opts.progress(progress)
	}
	return err
}

// startJournal makes sure that the journal has the whole operation. To a continued journal it
// writes only the facts of Resume.
func (op *Operation) startJournal(ctx context.Context) error {
	run := &op.running
	if op.opts.journal == nil || run.journaled {
		return nil
	}
	var entry []byte
	var err error
	if len(run.unjournaled) > 0 {
		entry, err = json.Marshal(run.unjournaled)
		run.journaled = true // the entry follows those that Resume has read
	} else {
		entry, err = op.Save()
	}
	run.unjournaled = nil
	if err != nil {
		return err
	}
	return op.writeEntry(ctx, entry)
}

// writeEntry writes an entry to the journal.
func (op *Operation) writeEntry(ctx context.Context, entry []byte) error {
	entry = append(entry, '\n')
	if !op.running.journaled {
		// End the journal line that a crash or a failed write can have left incomplete.
		entry = append([]byte{'\n'}, entry...)
	}
	err := op.opts.journal(context.WithoutCancel(ctx), entry)
	op.running.journaled = err == nil
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	op.running.journaledFacts = op.ledger.Facts()
	return nil
}
