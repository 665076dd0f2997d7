package appsandbooks_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// BenchmarkPlan measures how long the plan of a million pairs takes: names become indexes, and
// indexes become requests. It also reports the number of requests.
func BenchmarkPlan(b *testing.B) {
	const n = 1_000_000
	r := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func(i int) (asset, device int){
		// Eight departments with five apps each: a device gets the apps of its department.
		"departments":  func(i int) (int, int) { return (i/5%8)*5 + i%5, i / 5 },
		"one app each": func(i int) (int, int) { return r.IntN(40), i },
		"random":       func(int) (int, int) { return r.IntN(40), r.IntN(n / 10) },
	}
	srv, err := appsandbookstest.NewServer()
	require.NoError(b, err)
	defer srv.Close()
	c := newClient(b, srv)
	defer c.Close()
	for name, shape := range shapes {
		pairs := make([]appsandbooks.AssetPair, n)
		for i := range pairs {
			asset, device := shape(i)
			pairs[i] = appsandbooks.AssetPair{AdamID: fmt.Sprint(1000 + asset), SerialNumber: fmt.Sprintf("C02%07d", device)}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				op, err := c.Assets.Associate(b.Context(), appsandbooks.AssetChange{Pairs: pairs}, appsandbooks.WithPlanOnly())
				require.NoError(b, err)
				b.ReportMetric(float64(op.Plan().Requests), "requests")
			}
		})
	}
}
