package appsandbooks_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// Whatever a server says, the result is a value or an *Error that is safe to
// print: bounded, on one line, without the token it echoes.
func FuzzErrors(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `<html>Bad Gateway</html>`, `{"errorNumber":9622,"errorMessage":"bad token STOKEN"}`, `{"errorNumber":"9602"}`,
		`{"errorNumber":9602,"errorInfo":"all"}`, `{"errorNumber":9609,"errorMessage":"m","errorInfo":{"clientUserIds":["a"],"assets":[{"adamId":"1"}]}}`,
		`{"errorNumber":1e99}`, `{"errorNumber":-1}`, `{"errorNumber":99999999999}`, `{"errorMessage":"a\u001b[31m\nb"}`, `{"errorNumber":9602,"errorMess`,
		`{"eventStatus":"FAILED","failures":[{"errorNumber":9709,"errorInfo":{"adamIds":[5]}},null]}`, "STOKEN\x00\xff",
	} {
		for _, status := range []uint16{200, 302, 400, 401, 500, 503} {
			f.Add(status, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		body = bytes.ReplaceAll(body, []byte("STOKEN"), []byte(stoken))
		c, requests := sameAnswerClient(t, int(status), body)
		defer c.Close()
		_, listErr := c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "canary"})
		_, getErr := c.Status.Get(t.Context(), "canary")
		adminErr := c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"canary"}})
		require.EqualValues(t, 3, requests.Load())
		for _, err := range []error{listErr, getErr, adminErr} {
			if err == nil {
				continue
			}
			e := isError(t, err)
			require.Equal(t, int(status), e.StatusCode)
			require.NotContains(t, err.Error()+e.Excerpt+e.Message+fmt.Sprintf("%+v", e), stoken)
			require.LessOrEqual(t, len(e.Excerpt), 512)
			require.False(t, strings.ContainsFunc(err.Error()+e.Excerpt, unicode.IsControl), "%q", err)
		}
		if status/100 != 2 {
			require.Error(t, listErr)
		}
		require.False(t, errors.Is(listErr, appsandbooks.ErrAmbiguous) || errors.Is(getErr, appsandbooks.ErrAmbiguous))
	})
}
