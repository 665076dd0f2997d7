// Package contract holds the tests that say what the SDK relies on: one set,
// run against the stand-in in memory and over TCP, against recorded answers,
// and, when told so, against Apple's service.
//
// With a content token they read and change nothing. With -write a user is
// created, updated and retired, which can take a while:
//
//	go test ./internal/contract -v -token-file my.vpptoken
//	go test ./internal/contract -v -token-file my.vpptoken -write -timeout 20m
//
// The answers can be kept, without names, ids and secrets, in the place of those
// in testdata/service.yaml, which the stand-in gave:
//
//	go test ./internal/contract -v -token-file my.vpptoken -record
//
// Look at the file before you share it. The tests against recorded answers read
// it from then on; it is replaced only when all went well.
//
// It is a module of its own, so that the recorder is nobody else's dependency.
package contract
