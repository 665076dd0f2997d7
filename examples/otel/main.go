// Otel shows what an instrumented client tells OpenTelemetry.
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
Usage: otel

Assigns an app to three devices of a stand-in that it starts itself, which asks
for a pause once, and prints the spans and metrics as JSON. It needs no network.

telemetry.go is the part to take over: spans from otelhttp as the transport,
metrics from the hook of appsandbooks.WithTrace.

Exit codes: 0 it worked, 1 trouble, 2 wrong usage.
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
	numbers, err := stdoutmetric.New(stdoutmetric.WithPrettyPrint())
	if err != nil {
		return err
	}
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(numbers)))
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

	ctx, span := tp.Tracer("otel example").Start(ctx, "assign") // the attempts become its children
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
