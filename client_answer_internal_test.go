package appsandbooks

import (
	"encoding/json"
	"testing"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// The answer to an accepted write keeps its event id when another field is odd.
func TestClient_Do_keepsEventOfOddAnswer(t *testing.T) {
	date := `"tokenExpirationDate":"2030-11-08T22:33:22+0000"`
	mdm := `"mdmInfo":{"id":"i","name":"n","metadata":"m"}`
	var want acceptance
	require.NoError(t, json.Unmarshal([]byte(`{"eventId":"e","uId":"u",`+date+`,`+mdm+`}`), &want))
	require.Equal(t, []string{"e", "u", "i"}, []string{want.EventID, want.UID, want.MDMInfo.ID})
	require.False(t, want.TokenExpirationDate.IsZero())
	for text, change := range map[string]func(a *acceptance){
		`{"eventId":"e","uId":5,` + date + `,` + mdm + `}`:                        func(a *acceptance) { a.UID = "" },
		`{"eventId":"e","uId":"u","tokenExpirationDate":[],` + mdm + `}`:          func(a *acceptance) { a.TokenExpirationDate = Time{} },
		`{"eventId":"e","uId":"u",` + date + `,"mdmInfo":"none"}`:                 func(a *acceptance) { a.MDMInfo = nil },
		`{"eventId":"e","uId":"u",` + date + `,"mdmInfo":{"id":5}}`:               func(a *acceptance) { a.MDMInfo = nil },
		`{"eventId":"e","uId":"u",` + date + `,` + mdm + `,"versionId":{"x":[]}}`: func(*acceptance) {},
		`{"uId":"u",` + date + `,` + mdm + `}`:                                    func(a *acceptance) { a.EventID = "" },
		` {"eventId":null,"uId":"u",` + date + `,` + mdm + `}`:                    func(a *acceptance) { a.EventID = "" },
	} {
		expected := want
		change(&expected)
		got := acceptance{EventID: "old"}
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.Equal(t, expected, got, text)
	}
	for _, text := range []string{`{"eventId":5}`, `{"eventId":["e"]}`, `{"eventId":{}}`, `["e"]`, `"e"`, `null`, `5`} {
		require.Error(t, json.Unmarshal([]byte(text), new(acceptance)), text)
		require.Error(t, new(acceptance).UnmarshalJSON([]byte(text)), text)
	}
}

// The client knows the organizational unit of the latest answer, also of a page.
func TestClient_knowsUnitOfLatestAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
		require.Empty(t, c.knownUnit())
		_, err := c.Users.List(t.Context(), UserFilter{})
		require.NoError(t, err)
		require.Equal(t, srv.Unit().UID(), c.knownUnit())
		for answer, want := range map[string]string{`{"uId":"other"}`: "other", `{}`: "other"} {
			srv.AddFault(appsandbookstest.Fault{Path: "client/config", Status: 200, Body: `{"uId":"other"}`, Times: 1})
			_, err = c.Config.ClientConfig(t.Context())
			require.NoError(t, err)
			srv.AddFault(appsandbookstest.Fault{Path: "client/config", Status: 200, Body: answer, Times: 1})
			_, err = c.Config.ClientConfig(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, c.knownUnit(), answer)
		}
	})
}
