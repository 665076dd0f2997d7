package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Each attempt has a span, and the metrics contain pauses and retries. Spans and
// metrics contain neither the content token nor a user id.
func TestOtel_instrumentsClient(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	secret := srv.Unit().Token()
	srv.AddFault(appsandbookstest.Fault{
		Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}, Times: 1,
		Body: `{"errorNumber":9729,"errorMessage":"user-1 sent Bearer ` + secret + `"}`,
	})
	spans, reader := tracetest.NewSpanRecorder(), metric.NewManualReader()
	opts, err := instrument(srv.Transport(), trace.NewTracerProvider(trace.WithSpanProcessor(spans)),
		metric.NewMeterProvider(metric.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := appsandbooks.NewClient(secret, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "user-1"}); err != nil {
		t.Fatal(err)
	}

	if n := len(spans.Ended()); n != 2 {
		t.Errorf("%d spans for 2 attempts", n)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	traces, err := json.Marshal(tracetest.SpanStubsFromReadOnlySpans(spans.Ended()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"appsandbooks.attempt.duration", "appsandbooks.attempt.queued", "appsandbooks.pause", "appsandbooks.retries", `"9729"`, `"users"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	for name, text := range map[string]string{"metrics": string(text), "spans": string(traces)} {
		if strings.Contains(text, "user-1") || strings.Contains(text, secret[:len(secret)/2]) {
			t.Errorf("the %s contain a secret: %s", name, text)
		}
	}
}
