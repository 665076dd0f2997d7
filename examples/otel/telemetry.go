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

// instrument returns the options that make a client tell OpenTelemetry what it
// does: a span for each attempt, and metrics of all of them. base is the HTTP
// transport to use; nil is http.DefaultTransport.
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

// withoutQuery keeps the query, which names users and devices, out of the span
// that otelhttp has begun.
type withoutQuery struct{ base http.RoundTripper }

func (t withoutQuery) RoundTrip(r *http.Request) (*http.Response, error) {
	u := *r.URL
	u.RawQuery = ""
	trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("url.full", u.String()))
	return t.base.RoundTrip(r)
}

// metrics returns a hook for appsandbooks.WithTrace.
func metrics(m metric.Meter) (func(context.Context, appsandbooks.Attempt), error) {
	var all error
	histogram := func(name, description string) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description))
		all = errors.Join(all, err)
		return h
	}
	duration := histogram("appsandbooks.attempt.duration", "From being sent to the last byte of the answer.")
	queued := histogram("appsandbooks.attempt.queued", "Waited for its turn: the pace of the unit, other pages, a pause of another request.")
	paused := histogram("appsandbooks.pause", "Pauses that the service asked for with Retry-After.")
	retries, err := m.Int64Counter("appsandbooks.retries", metric.WithDescription("Attempts after the first of a call."))

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

// outcome is Apple's error number, or else the HTTP status; few enough values
// for an attribute.
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
