package appsandbooks_test

import (
	"encoding/json"
	"net/http"
)

func decode(r *http.Request, out any) error { return json.NewDecoder(r.Body).Decode(out) }
