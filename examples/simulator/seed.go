package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// faultKinds are the kinds of faults that a seed file may have.
var faultKinds = []appsandbookstest.FaultKind{
	appsandbookstest.FaultRespond, appsandbookstest.FaultDial, appsandbookstest.FaultResetBefore,
	appsandbookstest.FaultResetAfter, appsandbookstest.FaultEOF, appsandbookstest.FaultCutBody,
	appsandbookstest.FaultSlowBody, appsandbookstest.FaultTruncatedGzip, appsandbookstest.FaultHugeBody,
	appsandbookstest.FaultGzipBomb,
}

// A seed is the content of a seed file: the state in which the simulator starts.
type seed struct {
	Limits appsandbookstest.Limits
	Units  []library
	Faults []appsandbookstest.Fault
}

// A library is the content of one organizational unit.
type library struct {
	Name          string
	Assets        []appsandbookstest.Asset
	Users         []appsandbookstest.User
	Devices       []string
	Assignments   []appsandbookstest.Assignment
	Subscriptions []appsandbookstest.Subscription
}

// loadSeed reads the seed file. Without a seed file, it returns libraries of
// the size that the flags give.
func (o options) loadSeed() (*seed, error) {
	s := &seed{Limits: appsandbookstest.DefaultLimits()}
	if o.seedFile != "" {
		return s, s.read(o.seedFile)
	}
	var l library
	for i := range o.assets {
		l.Assets = append(l.Assets, appsandbookstest.Asset{AdamID: fmt.Sprint(1_000_000_001 + i), Total: o.licenses})
	}
	for i := range o.users {
		l.Users = append(l.Users, appsandbookstest.User{
			ClientUserID: fmt.Sprintf("user-%d", i+1),
			Email:        fmt.Sprintf("user-%d@example.com", i+1),
			Status:       "Associated",
		})
	}
	for i := range o.devices {
		l.Devices = append(l.Devices, fmt.Sprintf("SIM%07d", i+1))
	}
	for i := range o.subs {
		l.Subscriptions = append(l.Subscriptions, appsandbookstest.Subscription{
			AdamID: 2_000_000_001 + int64(i),
			Total:  appsandbookstest.Seats{Renewing: o.licenses},
		})
	}
	for i := range o.units {
		l.Name = "Headquarters"
		if i > 0 {
			l.Name = fmt.Sprintf("Branch %d", i)
		}
		s.Units = append(s.Units, l)
	}
	return s, nil
}

// read reads a seed file. An unknown field is an error, because it is probably
// misspelled.
func (s *seed) read(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the seed file: %w", err)
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(s); err != nil {
		return cli.Usagef("seed file %s: %w", path, err)
	}
	for i, f := range s.Faults {
		switch {
		case f.Probability < 0 || f.Probability > 1:
			return cli.Usagef("seed file %s: fault %d: probability must be from 0 to 1", path, i+1)
		case f.Kind != "" && !slices.Contains(faultKinds, f.Kind):
			return cli.Usagef("seed file %s: fault %d: unknown kind %q; the kinds are %q", path, i+1, f.Kind, faultKinds)
		case f.Unit != nil:
			return cli.Usagef("seed file %s: fault %d: the field unit is not supported", path, i+1)
		}
	}
	if len(s.Units) == 0 {
		s.Units = []library{{}}
	}
	return nil
}

// fill adds the libraries to the server, and returns their units. The first
// library uses the unit that the server already has, unless the library has
// another name.
func (s *seed) fill(srv *appsandbookstest.Server) []*appsandbookstest.Unit {
	var units []*appsandbookstest.Unit
	for i, l := range s.Units {
		u := srv.Unit()
		if i > 0 || l.Name != "" && l.Name != u.Name() {
			u = srv.NewUnit(l.Name)
		}
		units = append(units, u)
		for _, a := range l.Assets {
			u.AddAsset(a)
		}
		for _, user := range l.Users {
			u.AddUser(user)
		}
		u.AddDevices(l.Devices...)
		u.AddAssignments(l.Assignments...)
		for _, sub := range l.Subscriptions {
			u.AddSubscription(sub)
		}
	}
	return units
}
