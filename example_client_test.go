package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Client.Do calls an endpoint for which the SDK has no method.
func ExampleClient_Do() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	var out struct {
		UID string `json:"uId"`
	}
	err := client.Do(context.Background(), http.MethodGet, "client/config", nil, nil, &out)
	fmt.Println(out.UID == srv.Unit().UID(), err)
	// Output: true <nil>
}

func ExampleParseToken() {
	token, err := appsandbooks.ParseToken(stoken)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.OrganizationName, token.ExpirationDate.Format(time.DateOnly))
	fmt.Println(token)
	// Output:
	// ORG12345 2030-11-08
	// [REDACTED]
}

func ExampleWithTrace() {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.AddFault(appsandbookstest.Fault{Number: 9646, Times: 1})

	client, err := appsandbooks.NewClient(srv.Unit().Token(),
		appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithRetry(5, 0, time.Millisecond),
		appsandbooks.WithTrace(func(_ context.Context, a appsandbooks.Attempt) {
			fmt.Println(a.Method, a.Path, a.Count, a.StatusCode, int(a.ErrorNumber), a.Again)
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Config.ClientConfig(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// GET client/config 1 429 9646 true
	// GET client/config 2 200 0 false
}

// When the token source returns a renewed content token, the client uses it from the next
// attempt on.
func ExampleWithTokenSource() {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	current := srv.Unit().Token()
	client, err := appsandbooks.NewClient("", appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithTokenSource(func(context.Context) (string, error) { return current, nil }))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	current = srv.Unit().ReplaceToken()
	_, err = client.Config.ClientConfig(context.Background())
	fmt.Println(err)
	// Output: <nil>
}

// Two clients of one organizational unit with the same Limiter share the unit's request
// rate.
func ExampleWithLimiter() {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	limiter := appsandbooks.NewLimiter()
	for _, name := range []string{"console", "nightly"} {
		client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()),
			appsandbooks.WithLimiter(limiter), appsandbooks.WithUserAgent(name))
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		fmt.Println(name, client)
	}
	// Output:
	// console appsandbooks.Client(https://vpp.itunes.apple.com/mdm/v2)
	// nightly appsandbooks.Client(https://vpp.itunes.apple.com/mdm/v2)
}

func ExampleWithLogger() {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "took" {
				return slog.Attr{} // the time and the duration (took) differ in every run
			}
			return a
		},
	}))
	client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()), appsandbooks.WithLogger(logger))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Users.List(context.Background(), appsandbooks.UserFilter{ClientUserID: "not in the log"}); err != nil {
		log.Fatal(err)
	}
	// Output: level=DEBUG msg="appsandbooks: request" method=GET path=users attempt=1 status=200
}

// WithTimeout limits each attempt. The client retries an attempt that took longer than the
// limit.
func ExampleWithTimeout() {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.AddFault(appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour, Times: 1})

	client, err := appsandbooks.NewClient(srv.Unit().Token(),
		appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithRetry(2, 0, 0),
		appsandbooks.WithTimeout(time.Second)) // the default is 60 s
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = client.Users.List(context.Background(), appsandbooks.UserFilter{})
	fmt.Println(err)
	// Output: <nil>
}

// With WithMaxPause, a program that cannot wait for minutes gets the error at once. The
// error has the time after which the service accepts requests again.
func ExampleWithMaxPause() {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"120"}}, Times: 1})

	client, err := appsandbooks.NewClient(srv.Unit().Token(),
		appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithMaxPause(10*time.Second)) // the default is 5 minutes
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = client.Users.List(context.Background(), appsandbooks.UserFilter{})
	var e *appsandbooks.Error
	if errors.As(err, &e) {
		fmt.Println(e.RetryAfter)
	}
	// Output: 2m0s
}

// Reading the service configuration is the only call that needs no content token.
func ExampleWithoutToken() {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	client, err := appsandbooks.NewClient("", appsandbooks.WithoutToken(), appsandbooks.WithHTTPClient(srv.Client()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()

	config, err := client.Config.ServiceConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(config.Limits.MaxAssets, "assets in a request")
	_, err = client.Config.ClientConfig(ctx)
	fmt.Println(errors.Is(err, appsandbooks.ErrNoToken))
	// Output:
	// 25 assets in a request
	// true
}
