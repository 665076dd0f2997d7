// Otel shows the traces and metrics of a client that is instrumented with
// OpenTelemetry.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

const help = `
Otel starts a stand-in for Apple's service, assigns an app to three devices, and
prints the spans and metrics of the client as JSON. The stand-in asks for a pause
once, so that the metrics have a retry and a pause. Otel needs no network.

Copy telemetry.go into your program. It creates spans with otelhttp as the HTTP
transport, and metrics with the hook of appsandbooks.WithTrace.

Usage:
  otel

Exit codes:
  0  the assignment succeeded
  1  an error stopped the program
  2  invalid flags
`

func main() {
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), help[1:]) }
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	spans, err := stdouttrace.New(stdouttrace.WithPrettyPrint())
	if err != nil {
		return err
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	defer func() { _ = tp.Shutdown(ctx) }()
	metrics, err := stdoutmetric.New(stdoutmetric.WithPrettyPrint())
	if err != nil {
		return err
	}
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)))
	defer func() { _ = mp.Shutdown(ctx) }()

	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	if err != nil {
		return err
	}
	defer srv.Close()
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"1"}}, Times: 1})

	opts, err := instrument(srv.Transport(), tp, mp)
	if err != nil {
		return err
	}
	client, err := appsandbooks.NewClient(srv.Unit().Token(), append(opts, appsandbooks.WithPolling(0, 30*time.Second))...)
	if err != nil {
		return err
	}
	defer client.Close()

	ctx, span := tp.Tracer("otel example").Start(ctx, "assign") // the spans of the HTTP attempts are children of this span
	defer span.End()
	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		SerialNumbers: []string{"C02XL0GYJGH5", "DMPXK1YQJF8J", "F9FX2Q8JHG7F"},
	})
	if err != nil {
		return err
	}
	_, err = op.Wait(ctx)
	return err
}
