package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/appsandbooks/appsandbooks"
)

// instrument returns options for a client that is instrumented with OpenTelemetry:
// each attempt has a span and is counted in the metrics. The parameter base is the
// HTTP transport; nil means http.DefaultTransport.
func instrument(base http.RoundTripper, tp trace.TracerProvider, mp metric.MeterProvider) ([]appsandbooks.Option, error) {
	if base == nil {
		base = http.DefaultTransport
	}
	hook, err := metrics(mp.Meter("github.com/appsandbooks/appsandbooks"))
	if err != nil {
		return nil, err
	}
	return []appsandbooks.Option{
		appsandbooks.WithHTTPClient(&http.Client{
			Transport: otelhttp.NewTransport(withoutQuery{base},
				otelhttp.WithTracerProvider(tp), otelhttp.WithMeterProvider(mp)),
		}),
		appsandbooks.WithTrace(hook),
	}, nil
}

// withoutQuery is an HTTP transport that removes the query from the URL in the span
// of otelhttp. The query contains ids of users and devices.
type withoutQuery struct{ base http.RoundTripper }

func (t withoutQuery) RoundTrip(r *http.Request) (*http.Response, error) {
	u := *r.URL
	u.RawQuery = ""
	trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("url.full", u.String()))
	return t.base.RoundTrip(r)
}

// metrics returns a hook for appsandbooks.WithTrace that records the metrics of each
// attempt.
func metrics(m metric.Meter) (func(context.Context, appsandbooks.Attempt), error) {
	var all error
	histogram := func(name, description string) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description))
		all = errors.Join(all, err)
		return h
	}
	duration := histogram("appsandbooks.attempt.duration", "Time from sending an attempt to the last byte of its answer.")
	queued := histogram("appsandbooks.attempt.queued", "Time that an attempt waited before it was sent: for the pace of the unit, for other pages, or for a pause.")
	paused := histogram("appsandbooks.pause", "Pauses that the service asked for with Retry-After.")
	retries, err := m.Int64Counter("appsandbooks.retries", metric.WithDescription("Attempts after the first attempt of a call."))

	return func(ctx context.Context, a appsandbooks.Attempt) {
		path := attribute.String("path", a.Path)
		duration.Record(ctx, a.Took.Seconds(), metric.WithAttributes(
			path, attribute.String("method", a.Method), attribute.String("outcome", outcome(a))))
		queued.Record(ctx, a.Queued.Seconds(), metric.WithAttributes(path))
		if a.RetryAfter > 0 {
			paused.Record(ctx, a.RetryAfter.Seconds(), metric.WithAttributes(path))
		}
		if a.Count > 1 {
			retries.Add(ctx, 1, metric.WithAttributes(path))
		}
	}, errors.Join(all, err)
}

// outcome returns "ok", Apple's error number, the HTTP status, or "no answer". An
// attribute of a metric must have few different values.
func outcome(a appsandbooks.Attempt) string {
	switch {
	case a.Err == nil:
		return "ok"
	case a.ErrorNumber != 0:
		return strconv.Itoa(int(a.ErrorNumber))
	case a.StatusCode != 0:
		return "HTTP " + strconv.Itoa(a.StatusCode)
	}
	return "no answer"
}
