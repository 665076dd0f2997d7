package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

// Without a flag that selects a list, the program prints the licenses of each asset,
// and marks the assets with few licenses left.
func TestInventory_printsTable(t *testing.T) {
	srv := newService(t)
	out, errs, code := inventory(t, srv)
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	require.Regexp(t, `(?m)^ +200 +STDQ +App +402 +401 +1 +99% short$`, out)
	require.Regexp(t, `(?m)^ +100 +STDQ +App +1000 +400 +600 +40% *$`, out)
	require.Regexp(t, `(?m)^ +300 +STDQ +App +unlimited +0 +unlimited *$`, out)
	require.Contains(t, out, "\nFewer than 5 licenses left:\n  App 200 (STDQ): 1 of 402 left\n")

	out, _, code = inventory(t, srv, "-short", "1")
	require.Zero(t, code)
	require.Contains(t, out, "All apps and books have at least 1 licenses left")
}

// On a terminal the table of assets has bars for the share of used licenses.
func TestInventory_drawsBars(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, printTable(&b, []appsandbooks.Asset{{AssetID: appsandbooks.AssetID{AdamID: "1"}, TotalCount: 160, AvailableCount: 71, AssignedCount: 89}}, 5, true))
	require.Contains(t, b.String(), "███████████▏          55%")
	require.Equal(t, "  0%", shareOf(3, 0, false))
	require.Equal(t, strings.Repeat("█", 20)+" 100%", shareOf(7, 7, true))
}
