package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// printPlan says what a run would send, and what the library has for it.
func printPlan(ctx context.Context, p *cli.Program, client *appsandbooks.Client, action string, in *input) error {
	op, err := in.plan(ctx, client, action)
	if err != nil {
		return err
	}
	plan := op.Plan()
	library := map[appsandbooks.AssetID]appsandbooks.Asset{}
	for asset, err := range client.Assets.All(ctx, appsandbooks.AssetFilter{}) {
		if err != nil {
			return err
		}
		library[appsandbooks.AssetID{AdamID: asset.AdamID, PricingParam: asset.PricingParam}] = asset
	}

	table := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	header := "ADAM ID\tPRICING\tPAIRS\tNEEDED\tAVAILABLE"
	if action == disassociate {
		header = "ADAM ID\tPRICING\tPAIRS\tASSIGNED"
	}
	fmt.Fprintln(table, header)
	supply, troubled := newSupply(in, client), 0
	for i, id := range in.assets {
		asset, ok := library[id]
		var cells, trouble string
		if action == disassociate {
			cells, trouble = takes(asset)
		} else if cells, trouble, err = supply.needs(ctx, int32(i), asset, plan.Assets[id]); err != nil {
			return err
		}
		if !ok {
			trouble = "not in the library"
		}
		if trouble != "" {
			troubled++
			trouble = "\t" + trouble
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s%s\n", id.AdamID, id.PricingParam, plan.Assets[id], cells, trouble)
	}
	if err := table.Flush(); err != nil {
		return err
	}

	fmt.Fprintf(p.Stdout, "\n%s of %s with %s", count(plan.Pairs, "pair"),
		count(len(in.assets), "asset"), count(len(in.targets), "user or device", "users and devices"))
	if n := len(in.rows) - plan.Pairs; n > 0 {
		fmt.Fprintf(p.Stdout, " (%s repeated)", count(n, "row"))
	}
	fmt.Fprintf(p.Stdout, "\n%s, each an event\n", count(plan.Requests, "request"))
	if troubled > 0 {
		fmt.Fprintf(p.Stdout, "rows of %s would fail\n", count(troubled, "asset"))
		return cli.Exit(cli.Failed)
	}
	return nil
}

// takes are the cells of an asset to be taken back, and what is in the way.
func takes(asset appsandbooks.Asset) (cells, trouble string) {
	if !asset.Revocable {
		trouble = "cannot be taken back"
	}
	return strconv.Itoa(asset.AssignedCount), trouble
}

// supply compares what assets have with what rows need.
type supply struct {
	*input
	client   *appsandbooks.Client
	toDevice []bool            // assets that have rows with devices
	wanted   map[pair]struct{} // all pairs, once that matters
}

func newSupply(in *input, client *appsandbooks.Client) *supply {
	s := &supply{input: in, client: client, toDevice: make([]bool, len(in.assets))}
	for _, row := range in.rows {
		s.toDevice[row.asset] = s.toDevice[row.asset] || in.targets[row.target].device
	}
	return s
}

// needs are the cells of an asset to be assigned in a number of pairs, and
// what is in the way.
func (s *supply) needs(ctx context.Context, i int32, asset appsandbooks.Asset, pairs int) (cells, trouble string, err error) {
	if asset.TotalCount == appsandbooks.AssetUnlimited {
		return fmt.Sprintf("%d\tunlimited", pairs), "", nil
	}
	needed := pairs
	if needed > asset.AvailableCount && asset.AssignedCount > 0 {
		done, err := s.assigned(ctx, i)
		if err != nil {
			return "", "", err
		}
		needed -= done
	}
	switch {
	case s.toDevice[i] && !asset.DeviceAssignable:
		trouble = "cannot be assigned to devices"
	case needed > asset.AvailableCount:
		trouble = fmt.Sprintf("%d short", needed-asset.AvailableCount)
	}
	return fmt.Sprintf("%d\t%d", needed, asset.AvailableCount), trouble, nil
}

// assigned counts the pairs of an asset that are there already: they need no licence.
func (s *supply) assigned(ctx context.Context, i int32) (n int, err error) {
	if s.wanted == nil {
		s.wanted = make(map[pair]struct{}, len(s.rows))
		for _, row := range s.rows {
			s.wanted[row] = struct{}{}
		}
	}
	f := appsandbooks.AssignmentFilter{AdamID: s.assets[i].AdamID, PricingParam: s.assets[i].PricingParam}
	for a, err := range s.client.Assignments.All(ctx, f) {
		if err != nil {
			return 0, err
		}
		t, ok := s.targetAt[target{a.ClientUserID + a.SerialNumber, a.SerialNumber != ""}]
		if _, wanted := s.wanted[pair{i, t}]; ok && wanted {
			n++
		}
	}
	return n, nil
}

// count is a number with its noun.
func count(n int, one string, many ...string) string {
	switch {
	case n == 1:
	case len(many) > 0:
		one = many[0]
	default:
		one += "s"
	}
	return strconv.Itoa(n) + " " + one
}
