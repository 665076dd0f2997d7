//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/appsandbooks/appsandbooks/postgres"
)

// printStatus prints one line with the state of each operation.
func printStatus(ctx context.Context, s settings, uid string, open bool, out io.Writer) error {
	pool, err := connect(ctx, s.db)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := postgres.New(pool)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OPERATION\tUNIT\tSTATE\tREQUESTS\tPAIRS\tSUCCEEDED\tFAILED\tUNCONFIRMED\tUNSENT\tNEXT STEP\tLAST ERROR")
	for o, err := range store.Operations().All(ctx, postgres.OperationFilter{Unit: uid, Unfinished: open}) {
		if err != nil {
			return err
		}
		state, next := o.State, ""
		switch {
		case o.Leased:
			state, next = state+", running", "now"
		case !o.Due.IsZero():
			next = "in " + max(time.Until(o.Due), 0).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d/%d\t%d\t%d\t%d\t%d\t%d\t%s\t%.80s\n", o.ID, o.Unit, state,
			o.Accepted, o.Requests, o.Pairs, o.Succeeded, o.Failed, o.Unconfirmed, o.Unsent, next, o.LastError)
	}
	return w.Flush()
}
