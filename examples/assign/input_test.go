package main_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// Before it sends a request, the program reports invalid rows of the input file with
// their lines and without ids of users and devices.
func TestAssign_invalidInput(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for name, test := range map[string]struct{ text, message string }{
		"empty":            {"", "first line must name the columns"},
		"no rows":          {header, "no rows"},
		"no header":        {"1000,STDQ,,SN1\n", "no column has the name adamId"},
		"content token":    {env.unit.Token(), "no column has the name adamId"},
		"semicolons":       {"adamId;serialNumber\n1000;SN1\n", "separate columns with commas"},
		"no target column": {"adamId,device\n1000,SN1\n", "no column has the name clientUserId or serialNumber"},
		"same column":      {"adamId,serialNumber,SerialNumber\n1000,SN1,SN2\n", "two columns have the name serialNumber"},
		"no target":        {header + "1000,,,SN1\n1000,,,\n", "line 3: clientUserId and serialNumber are empty"},
		"two targets":      {header + "\n1000,,user-1,SN1\n", "line 3: the row has a clientUserId and a serialNumber"},
		"no asset":         {header + ",,,SN1\n", "line 2: adamId"},
		"asset no number":  {header + "1.0E+9,,,SN1\n", `line 2: adamId must be a number, not "1.0E+9"`},
		"several errors":   {header + "x,,,SN1\n1000,,,SN1\ny,,,SN2\n", "line 4: adamId"},
		"missing field":    {header + "1000,,SN1\n", "line 2: wrong number of fields"},
		"stray quote":      {header + "1000,,,S\"N\n", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			file := strings.ReplaceAll(name, " ", "-") + ".csv"
			env.write(file, test.text)
			r := env.run("-action", "associate", "-in", file, "-out", "out.csv")
			assert.Equal(t, cli.Usage, r.Code)
			assert.Contains(t, r.Stderr, test.message)
			assert.NotContains(t, r.Stderr, env.unit.Token()[:20])
			assert.NotContains(t, r.Stderr, "SN1")
			assert.NoFileExists(t, env.path("out.csv"))
		})
	}
	env.requireOnlyReads()
}
