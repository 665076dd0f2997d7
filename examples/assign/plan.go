package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// printPlan prints how many requests a run would send, and whether the organization
// has the licenses that the run needs.
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
	licenses, problems := newLicenseCheck(in, client), 0
	for i, id := range in.assets {
		asset, ok := library[id]
		var cells, problem string
		if action == disassociate {
			cells, problem = checkRemoval(asset)
		} else if cells, problem, err = licenses.check(ctx, int32(i), asset, plan.Assets[id]); err != nil {
			return err
		}
		if !ok {
			problem = "the organization does not own it"
		}
		if problem != "" {
			problems++
			problem = "\t" + problem
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s%s\n", id.AdamID, id.PricingParam, plan.Assets[id], cells, problem)
	}
	if err := table.Flush(); err != nil {
		return err
	}

	fmt.Fprintf(p.Stdout, "\n%s: %s, %s", count(plan.Pairs, "pair"),
		count(len(in.assets), "asset"), count(len(in.targets), "user or device", "users and devices"))
	if n := len(in.rows) - plan.Pairs; n > 0 {
		fmt.Fprintf(p.Stdout, " (%s repeated)", count(n, "row"))
	}
	fmt.Fprintf(p.Stdout, "\n%s would be sent\n", count(plan.Requests, "request"))
	if problems > 0 {
		fmt.Fprintf(p.Stdout, "rows of %s would fail\n", count(problems, "asset"))
		return cli.Exit(cli.Failed)
	}
	return nil
}

// checkRemoval returns the last cells of an asset's row in the plan of a removal of
// assignments. problem is the reason why the removal would fail, or "".
func checkRemoval(asset appsandbooks.Asset) (cells, problem string) {
	if !asset.Revocable {
		problem = "its assignments cannot be removed"
	}
	return strconv.Itoa(asset.AssignedCount), problem
}

// licenseCheck compares the licenses that assets have available with the licenses
// that the rows need.
type licenseCheck struct {
	*input
	client   *appsandbooks.Client
	toDevice []bool            // by asset: whether a row assigns the asset to a device
	pairs    map[pair]struct{} // all pairs of the input file; nil until countAssigned needs them
}

func newLicenseCheck(in *input, client *appsandbooks.Client) *licenseCheck {
	l := &licenseCheck{input: in, client: client, toDevice: make([]bool, len(in.assets))}
	for _, row := range in.rows {
		l.toDevice[row.asset] = l.toDevice[row.asset] || in.targets[row.target].device
	}
	return l
}

// check returns the last cells of an asset's row in the plan of assignments. problem
// is the reason why the assignment would fail, or "". The parameter index is the
// index of the asset in the input file, and pairs is the number of pairs with this
// asset.
func (l *licenseCheck) check(ctx context.Context, index int32, asset appsandbooks.Asset, pairs int) (cells, problem string, err error) {
	if asset.TotalCount == appsandbooks.AssetUnlimited {
		return fmt.Sprintf("%d\tunlimited", pairs), "", nil
	}
	needed := pairs
	if needed > asset.AvailableCount && asset.AssignedCount > 0 {
		assigned, err := l.countAssigned(ctx, index)
		if err != nil {
			return "", "", err
		}
		needed -= assigned
	}
	switch {
	case l.toDevice[index] && !asset.DeviceAssignable:
		problem = "cannot be assigned to devices"
	case needed > asset.AvailableCount:
		problem = count(needed-asset.AvailableCount, "license") + " missing"
	}
	return fmt.Sprintf("%d\t%d", needed, asset.AvailableCount), problem, nil
}

// countAssigned returns the number of pairs of an asset in the input file that are
// already assigned. These pairs need no further license.
func (l *licenseCheck) countAssigned(ctx context.Context, index int32) (n int, err error) {
	if l.pairs == nil {
		l.pairs = make(map[pair]struct{}, len(l.rows))
		for _, row := range l.rows {
			l.pairs[row] = struct{}{}
		}
	}
	id := l.assets[index]
	for a, err := range l.client.Assignments.All(ctx, appsandbooks.AssignmentFilter{AdamID: id.AdamID, PricingParam: id.PricingParam}) {
		if err != nil {
			return 0, err
		}
		t, ok := l.targetIndex[target{a.ClientUserID + a.SerialNumber, a.SerialNumber != ""}]
		if _, inInput := l.pairs[pair{index, t}]; ok && inInput {
			n++
		}
	}
	return n, nil
}

// count returns a number with its noun, such as "2 rows". The plural is the singular
// with an s, unless the parameter many gives it.
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
