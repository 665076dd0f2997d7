//go:build unix

package main

import (
	"slices"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks"
)

// containsToken reports whether an argument is a content token or a flag with one.
func containsToken(arg string) bool {
	name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return slices.ContainsFunc([]string{strings.TrimLeft(arg, "-"), name, value}, func(s string) bool {
		_, err := appsandbooks.ParseToken(s)
		return err == nil
	})
}

// splitList splits a flag's value at commas and white space.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

// settings contains the flags that several commands share.
type settings struct {
	db, vendor, listen       string
	workers                  int
	firstPoll, poll, timeout time.Duration
	lease, stall             time.Duration
}
