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
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"1"}}, Times: 1})
	spans, reader := tracetest.NewSpanRecorder(), metric.NewManualReader()
	opts, err := instrument(srv.Transport(), trace.NewTracerProvider(trace.WithSpanProcessor(spans)),
		metric.NewMeterProvider(metric.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := appsandbooks.NewClient(srv.Unit().Token(), opts...)
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
	for _, s := range spans.Ended() {
		for _, a := range s.Attributes() {
			if v := a.Value.Emit(); strings.Contains(v, "a-person") || strings.Contains(v, srv.Unit().Token()) {
				t.Errorf("%s of a span is %s", a.Key, v)
			}
		}
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"appsandbooks.attempt.duration", "appsandbooks.attempt.queued", "appsandbooks.pause", "appsandbooks.retries", `"9729"`, `"users"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if strings.Contains(string(text), "a-person") {
		t.Error("the metrics name a user")
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
