package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// showTable prints a table of the assets, sorted by the number of licenses left. It
// marks assets with fewer than short licenses left.
func showTable(ctx context.Context, p *cli.Program, c *appsandbooks.Client, short int) error {
	// The list of assets has few pages. If it changes meanwhile, the client reads it
	// again, at most 3 times, so that all pages belong to the same version.
	assets, err := appsandbooks.Collect(c.Assets.All(ctx, appsandbooks.AssetFilter{ListOptions: appsandbooks.ListOptions{Restarts: 3}}))
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("reading assets: %w", err)
	}
	slices.SortStableFunc(assets, func(a, b appsandbooks.Asset) int {
		return cmp.Or(cmp.Compare(a.AvailableCount, b.AvailableCount), cmp.Compare(a.AdamID, b.AdamID))
	})
	return printTable(p.Stdout, assets, short, cli.IsTerminal(p.Stdout))
}

// printTable writes the table of assets, and the list of assets with fewer than
// short licenses left. If bars is true, it also draws the share of used licenses as
// a bar.
func printTable(w io.Writer, assets []appsandbooks.Asset, short int, bars bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "ADAM ID\tQUALITY\tTYPE\tOWNED\tIN USE\tLEFT\t  SHARE IN USE\t")
	var shortAssets []appsandbooks.Asset
	for _, a := range assets {
		owned, left, share, mark := strconv.Itoa(a.TotalCount), strconv.Itoa(a.AvailableCount), "", ""
		switch {
		case a.TotalCount == appsandbooks.AssetUnlimited:
			owned, left = "unlimited", "unlimited"
		case a.AvailableCount < short:
			shortAssets = append(shortAssets, a)
			mark = " short"
			fallthrough
		default:
			share = shareOf(a.TotalCount-a.AvailableCount, a.TotalCount, bars)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t  %s%-6s\t\n",
			a.AdamID, a.PricingParam, a.ProductType, owned, a.AssignedCount, left, share, mark)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(shortAssets) == 0 {
		_, err := fmt.Fprintf(w, "\nAll apps and books have at least %d licenses left.\n", short)
		return err
	}
	fmt.Fprintf(w, "\nFewer than %d licenses left:\n", short)
	for _, a := range shortAssets {
		if _, err := fmt.Fprintf(w, "  %s %s (%s): %d of %d left\n", a.ProductType, a.AdamID, a.PricingParam, a.AvailableCount, a.TotalCount); err != nil {
			return err
		}
	}
	return nil
}

// shareOf returns part in percent of whole. If bar is true, a bar of 20 characters
// comes before the number.
func shareOf(part, whole int, bar bool) string {
	const width = 20
	if whole <= 0 {
		part, whole = 0, 1
	}
	percent := fmt.Sprintf("%3d%%", part*100/whole)
	if !bar {
		return percent
	}
	eighths := min(part, whole) * width * 8 / whole
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune(" ▏▎▍▌▋▊▉")[rest])
	}
	return fmt.Sprintf("%-*s %s", width, text, percent)
}
