package appsandbooks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Pages of users and assignments have their own JSON decoder. For every answer its result
// must equal the result of encoding/json.
func TestPage_decodesLikeEncodingJSON(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", "walkthrough", name))
		require.NoError(t, err)
		return string(text)
	}
	tail := `,"currentPageIndex":0,"nextPageIndex":1,"size":2,"totalPages":2,"versionId":"v","uId":"1",` +
		`"tokenExpirationDate":"2030-11-08T22:33:22+0000","mdmInfo":{"id":"1","name":"a \"b\"","metadata":"{}"}}`
	assignments := []string{
		read("16-assignments.response.json"),
		`{"assignments":[{"adamId":"1","pricingParam":"PLUS","clientUserId":"u","userStatus":"Associated","idHash":"h="},{"adamId":"1","serialNumber":"d"}]` + tail,
		`{"assignments":[{"adamId":"1","serialNumber":"\u00e9\n"},{"adamId":"2","serialNumber":null}]` + tail,
		`{"assignments":[{"adamId":"1","SerialNumber":"d","new":{"x":[1]}},null,{}]` + tail,
		`{"assignments":[]` + tail,
		`{"assignments":null` + tail,
		`{"uId":"1"}`,
		`{"assignments":[{"adamId":1}]` + tail,
		`{"assignments":[{"adamId":"1"}],"size":"two"}`,
		`{"assignments":[{"adamId":"1"}]`,
	}
	for _, body := range assignments {
		requireDecodedLikeEncodingJSON[assignmentAnswer](t, body)
	}
	for _, body := range []string{
		read("08-users.response.json"),
		`{"users":[{"clientUserId":"u","email":"e@example.com","inviteCode":"c","status":"Registered"},{"clientUserId":"v","idHash":"h","status":"Unknown"}]` + tail,
		`{"users":[{"clientUserId":"u","email":"\"e\"@example.com"}]` + tail,
	} {
		requireDecodedLikeEncodingJSON[userAnswer](t, body)
	}
}

// requireDecodedLikeEncodingJSON decodes body with request.decode and with encoding/json,
// and requires that both return the same value or that both return an error.
func requireDecodedLikeEncodingJSON[T any, P interface {
	*T
	plainPage
}](t *testing.T, body string) {
	t.Helper()
	want, got := P(new(T)), P(new(T))
	wantErr := json.Unmarshal([]byte(body), want)
	err := request{page: true}.decode([]byte(body), got)
	if wantErr != nil {
		require.Error(t, err, "%s", body)
		return
	}
	require.NoError(t, err, "%s", body)
	require.Equal(t, want, got, "%s", body)
}
