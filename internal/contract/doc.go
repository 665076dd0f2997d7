// Package contract contains tests of the behavior of the service that the SDK relies
// on. The same tests run against the stand-in, in memory and over TCP, against recorded
// answers, and, if a content token is given, against Apple's service.
//
// With -token-file the tests only read from Apple's service. With -write they also
// create, update and retire a user, which can take up to 15 minutes:
//
//	go test ./internal/contract -v -token-file my.vpptoken
//	go test ./internal/contract -v -token-file my.vpptoken -write -timeout 20m
//
// With -record the answers of the service, without names, ids and secrets, replace the
// recorded answers in testdata/service.yaml, which are those of the stand-in:
//
//	go test ./internal/contract -v -token-file my.vpptoken -record
//
// The file is replaced only if all tests pass. Check its content before you share it.
//
// The package is in a module of its own, so that no other module depends on the
// recorder.
package contract
