package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

var faultKinds = []appsandbookstest.FaultKind{
	appsandbookstest.FaultRespond, appsandbookstest.FaultDial, appsandbookstest.FaultResetBefore,
	appsandbookstest.FaultResetAfter, appsandbookstest.FaultEOF, appsandbookstest.FaultCutBody,
	appsandbookstest.FaultSlowBody, appsandbookstest.FaultTruncatedGzip, appsandbookstest.FaultHugeBody,
	appsandbookstest.FaultGzipBomb,
}

// seed is what the simulator begins with; also the form of a seed file.
type seed struct {
	Limits appsandbookstest.Limits
	Units  []library
	Faults []appsandbookstest.Fault
}

// contents is the content of an organizational unit.
type library struct {
	Name          string
	Assets        []appsandbookstest.Asset
	Users         []appsandbookstest.User
	Devices       []string
	Assignments   []appsandbookstest.Assignment
	Subscriptions []appsandbookstest.Subscription
}

// contents reads the seed file, or makes as much as the flags ask for.
func (o options) contents() (*seed, error) {
	s := &seed{Limits: appsandbookstest.DefaultLimits()}
	if o.seedFile != "" {
		return s, s.read(o.seedFile)
	}
	var l library
	for i := range o.assets {
		l.Assets = append(l.Assets, appsandbookstest.Asset{AdamID: fmt.Sprint(1_000_000_001 + i), Total: o.licences})
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
			Total:  appsandbookstest.Seats{Renewing: o.licences},
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

// read reads a seed file. Unknown fields are errors: they are typing errors.
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
			return cli.Usagef("seed file %s: fault %d: the probability must be from 0 to 1", path, i+1)
		case f.Kind != "" && !slices.Contains(faultKinds, f.Kind):
			return cli.Usagef("seed file %s: fault %d: unknown kind %q; known are %q", path, i+1, f.Kind, faultKinds)
		case f.Unit != nil:
			return cli.Usagef("seed file %s: fault %d: a unit cannot be given", path, i+1)
		}
	}
	if len(s.Units) == 0 {
		s.Units = []library{{}}
	}
	return nil
}

// plant fills the libraries. The server's own unit serves as the first one if
// it has the right name.
func (s *seed) plant(srv *appsandbookstest.Server) []*appsandbookstest.Unit {
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
