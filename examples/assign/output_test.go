package main_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

// The output file has the columns and rows of the input file, with a result for each
// row. It can be the input file of another run.
func TestAssign_writesRowsOfInput(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(2, 10)
	env.unit.AddUser(appsandbookstest.User{ClientUserID: "user-1"})
	env.write("in.csv", "\ufeffserialNumber,Name,adamId, PricingParam,clientUserId,outcome\r\n"+
		"SN1,\"Doe, Jane\",1000,,,failed\r\n"+
		",,1001,STDQ,user-1,\r\n"+
		"\r\n"+
		"SN1 ,again,1000,STDQ,,\r\n")
	r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, "serialNumber,Name,adamId,\" PricingParam\",clientUserId,outcome,errorNumber,errorMessage\n"+
		"SN1,\"Doe, Jane\",1000,,,succeeded,,\n"+
		",,1001,STDQ,user-1,succeeded,,\n"+
		"SN1 ,again,1000,STDQ,,succeeded,,\n", env.read("out.csv"))
	assert.Empty(t, r.Stdout)
	assert.Regexp(t, `(?m)^assign: 2 of 2 pairs succeeded; 2 requests, \d+ms\n\z`, r.Stderr)
	assert.Len(t, env.unit.Assignments(), 2)
	assert.NoFileExists(t, env.path("out.csv.state"))
	assert.NoFileExists(t, env.path("out.csv.partial"))
	assert.Empty(t, env.srv.Violations())

	// The output file of the first run is the input file of the second run.
	r = env.run("-action", "disassociate", "-in", "out.csv", "-out", "back.csv")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, env.read("out.csv"), env.read("back.csv"))
	assert.Empty(t, env.unit.Assignments())
}

// With -in - and -out - the program reads standard input and writes standard output.
func TestAssign_usesStandardStreams(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(1, 10)
	c := env.command("-action", "associate", "-in", "-", "-out", "-")
	c.Stdin = "adamId,serialNumber\n1000,SN1\n"
	r := clitest.Run(t, c)
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, "adamId,serialNumber,outcome,errorNumber,errorMessage\n1000,SN1,succeeded,,\n", r.Stdout)
	assert.NoFileExists(t, env.path("assign.state"))
}
