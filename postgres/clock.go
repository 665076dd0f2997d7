package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// seconds is a duration for an interval parameter.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) + " seconds"
}

// maxSkew is how far the clock of a machine may be from the database's. The times
// in a journal are a machine's, and another one takes them up.
const maxSkew = 5 * time.Second

// checkClock compares a reading of the database's clock with ours around it.
func checkClock(before, database, after time.Time) error {
	var off time.Duration
	switch {
	case database.Before(before):
		off = before.Sub(database)
	case database.After(after):
		off = database.Sub(after)
	}
	if off > maxSkew {
		return fmt.Errorf("%w by %s", ErrClock, off.Round(time.Second))
	}
	return nil
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
