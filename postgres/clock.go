package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// interval returns a duration as text for an SQL parameter of type interval.
func interval(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) + " seconds"
}

// maxClockSkew is the largest allowed difference between the clock of a machine and the
// clock of the database. A journal contains times of the machine that wrote it, and
// another machine continues the operation by these times.
const maxClockSkew = 5 * time.Second

// checkClock returns ErrClockSkew if the time of the database differs by more than
// maxClockSkew from the times of this machine. before and after are the times of this
// machine before and after it read the time of the database.
func checkClock(before, database, after time.Time) error {
	var difference time.Duration
	switch {
	case database.Before(before):
		difference = before.Sub(database)
	case database.After(after):
		difference = database.Sub(after)
	}
	if difference > maxClockSkew {
		return fmt.Errorf("%w by %s", ErrClockSkew, difference.Round(time.Second))
	}
	return nil
}

// sleep waits for d. If the context ends first, sleep returns the cause of its end.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
