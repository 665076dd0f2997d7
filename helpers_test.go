package appsandbooks_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func decode(r *http.Request, out any) error { return json.NewDecoder(r.Body).Decode(out) }

func readCloser(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
