package appsandbooks_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/appsandbooks/appsandbooks"
)

// The cost of a notification in the handler, next to that in a handler that
// only decodes it with encoding/json, knowing its type beforehand.

// delivery posts the same notification over and over, each time with an id of
// its own.
type delivery struct {
	handler http.Handler
	body    []byte
	id      []byte // in body
	n       int
	request *http.Request
	reader  bytes.Reader
	w       discardWriter
}

func newSameDelivery(b *testing.B, h http.Handler, elements int) *delivery {
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
	d := &delivery{handler: h, body: body, id: body[at : at+len(id)], w: discardWriter{header: http.Header{}}}
	d.request, _ = http.NewRequest(http.MethodPost, "https://mdm.example.com/notifications", nil)
	d.request.Header.Set("Authorization", "Bearer "+hookSecret)
	d.request.ContentLength = int64(len(body))
	b.SetBytes(int64(len(body)))
	return d
}

func (d *delivery) post(b *testing.B) {
	d.n++
	copy(d.id[len(d.id)-12:], fmt.Appendf(nil, "%012d", d.n))
	d.reader.Reset(d.body)
	d.request.Body = body{&d.reader}
	d.w.status = 0
	d.handler.ServeHTTP(&d.w, d.request)
	if d.w.status != http.StatusOK {
		b.Fatalf("answered %d", d.w.status)
	}
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

type discardWriter struct {
	header http.Header
	status int
}

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(status int)      { w.status = status }

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
	full, err := appsandbooks.NewNotificationHandler(appsandbooks.NotificationHooks{}, hookSecret)
	if err != nil {
		b.Fatal(err)
	}
	for _, elements := range []int{1, 10, 100} {
		for name, h := range map[string]http.Handler{"decode": decode, "handler": full} {
			b.Run(fmt.Sprintf("%s/%d", name, elements), func(b *testing.B) {
				d := newSameDelivery(b, h, elements)
				b.ReportAllocs()
				for b.Loop() {
					d.post(b)
				}
			})
		}
	}
}
