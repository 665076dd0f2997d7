package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// repeatedDelivery posts the same notification repeatedly to a handler, each time with
// another notification id.
type repeatedDelivery struct {
	handler http.Handler
	body    []byte
	id      []byte // the part of body that is the notification id
	n       int
	request *http.Request
	reader  bytes.Reader
	w       discardWriter
}

func newRepeatedDelivery(b *testing.B, h http.Handler, elements int) *repeatedDelivery {
	var list bytes.Buffer
	for i := range elements {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, `{"adamId":"361309726","pricingParam":"STDQ","serialNumber":"C02%09d"}`, i)
	}
	const id = "00000000-0000-0000-0000-000000000000"
	body := fmt.Appendf(nil, `{"notification":{"assignments":[%s],"eventId":"954910a8-3d9c-4fde-948d-253e5aef431a",`+
		`"result":"SUCCESS","type":"ASSOCIATE"},"notificationId":%q,"notificationType":"ASSET_MANAGEMENT","uId":"2049025000431439"}`,
		list.Bytes(), id)
	at := bytes.Index(body, []byte(id))
	d := &repeatedDelivery{handler: h, body: body, id: body[at : at+len(id)], w: discardWriter{header: http.Header{}}}
	d.request, _ = http.NewRequest(http.MethodPost, "https://mdm.example.com/notifications", nil)
	d.request.Header.Set("Authorization", "Bearer "+hookSecret)
	d.request.ContentLength = int64(len(body))
	b.SetBytes(int64(len(body)))
	return d
}

func (d *repeatedDelivery) post(b *testing.B) {
	d.n++
	copy(d.id[len(d.id)-12:], fmt.Appendf(nil, "%012d", d.n))
	d.reader.Reset(d.body)
	d.request.Body = reusableBody{&d.reader}
	d.w.status = 0
	d.handler.ServeHTTP(&d.w, d.request)
	if d.w.status != http.StatusOK {
		b.Fatalf("status %d", d.w.status)
	}
}

type reusableBody struct{ *bytes.Reader }

func (reusableBody) Close() error { return nil }

type discardWriter struct {
	header http.Header
	status int
}

func (w *discardWriter) Header() http.Header { return w.header }

func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }

func (w *discardWriter) WriteHeader(status int) { w.status = status }

// BenchmarkHandler measures a delivery to the handler and, for comparison, to a handler
// that only decodes the notification with encoding/json and knows its type.
func BenchmarkHandler(b *testing.B) {
	decode := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n struct {
			Notification appsandbooks.AssetManagement  `json:"notification"`
			ID           string                        `json:"notificationId"`
			Type         appsandbooks.NotificationType `json:"notificationType"`
			UID          string                        `json:"uId"`
		}
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	full, err := appsandbooks.NewNotificationHandler(nil, withSecrets(hookSecret))
	if err != nil {
		b.Fatal(err)
	}
	for _, elements := range []int{1, 10, 100} {
		for name, h := range map[string]http.Handler{"decode": decode, "handler": full} {
			b.Run(fmt.Sprintf("%s/%d", name, elements), func(b *testing.B) {
				d := newRepeatedDelivery(b, h, elements)
				b.ReportAllocs()
				for b.Loop() {
					d.post(b)
				}
			})
		}
	}
}

// BenchmarkWakeOverLoopback measures the time from the end of an event to the return of
// Operation.Wait, over loopback TCP. The time includes one notification and one poll.
func BenchmarkWakeOverLoopback(b *testing.B) {
	var client *appsandbooks.Client
	h, err := appsandbooks.NewNotificationHandler(nil, withSecrets(hookSecret),
		appsandbooks.WithNotify(func(n *appsandbooks.Notification) { client.Notify(n) }))
	require.NoError(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx, l) }()
	limits := appsandbookstest.DefaultLimits()
	limits.MaxRequestPerSecond = 1_000_000
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithLimits(limits), appsandbookstest.WithEventDelay(2*time.Millisecond))
	require.NoError(b, err)
	defer srv.Close()
	require.NoError(b, srv.Listen(""))
	client, err = appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithBaseURL(srv.URL()))
	require.NoError(b, err)
	defer client.Close()
	_, err = client.Config.Register(ctx, appsandbooks.Registration{
		NotificationURL: "http://" + l.Addr().String() + "/", NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h,
	})
	require.NoError(b, err)
	assets := addAssets(srv, 1, 1_000_000)
	var total, worst time.Duration
	n := 0
	for b.Loop() {
		op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{fmt.Sprint("C", n)}})
		require.NoError(b, err)
		_, err = op.Wait(ctx)
		returned := time.Now()
		require.NoError(b, err)
		events := srv.Unit().Events()
		took := returned.Sub(events[len(events)-1].Finished)
		total, worst, n = total+took, max(worst, took), n+1
	}
	b.ReportMetric(float64(total.Microseconds())/float64(n), "µs/wake")
	b.ReportMetric(float64(worst.Microseconds()), "µs/worst")
	cancel()
	require.NoError(b, <-served)
}
