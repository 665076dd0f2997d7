package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

func TestInstrument(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	secret := srv.Unit().Token()
	srv.AddFault(appsandbookstest.Fault{
		Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}, Times: 1,
		Body: `{"errorNumber":9729,"errorMessage":"a-person sent Bearer ` + secret + `"}`,
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
	if _, err := client.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "a-person"}); err != nil {
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
	for what, text := range map[string]string{"metrics": string(text), "spans": string(traces)} {
		if strings.Contains(text, "a-person") || strings.Contains(text, secret[:len(secret)/2]) {
			t.Errorf("the %s tell a secret: %s", what, text)
		}
	}
}

func TestProgram(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "otel")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	cmd := exec.Command(binary)
	cmd.Env = []string{"HOME=" + os.TempDir()}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "appsandbooks.pause") || !strings.Contains(string(out), `"assign"`) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = exec.Command(binary, "-h").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "WithTrace") {
		t.Errorf("-h: %v\n%s", err, out)
	}
}
