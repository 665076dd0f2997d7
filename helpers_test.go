package appsandbooks_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

func decode(r *http.Request, out any) error { return json.NewDecoder(r.Body).Decode(out) }

func readCloser(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
