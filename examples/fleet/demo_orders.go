//go:build unix

package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// register registers the load balancer's URL for the notifications of all units.
func (d *demo) register(ctx context.Context) error {
	balancer, err := d.fleet.startBalancer()
	if err != nil {
		return err
	}
	d.atEnd(func() { balancer.Close() })
	d.logf("registering %d units for notifications", len(d.units))
	return d.forEachUnit(func(_ int, u *appsandbookstest.Unit) error {
		client, err := d.clients.get(u.UID())
		if err != nil {
			return err
		}
		_, err = client.Config.Register(ctx, appsandbooks.Registration{
			NotificationURL:       "http://" + balancer.Addr().String() + "/notifications",
			NotificationAuthToken: appsandbooks.NewSecret(d.vendor.Secret),
		})
		return err
	})
}

// order enqueues five changes for each unit: a large change with four assets, and four
// small changes with one asset each. Some devices of each change fail.
func (d *demo) order(ctx context.Context) error {
	d.logf("ordering %d pairs", d.pairs)
	return d.forEachUnit(func(i int, u *appsandbookstest.Unit) error {
		pairs := d.pairs / len(d.units)
		if i < d.pairs%len(d.units) {
			pairs++
		}
		small := pairs / 20
		large := (pairs - 4*small) / 4
		if err := d.orderChange(ctx, u, 0, large, "1", "2", "3", "4"); err != nil {
			return err
		}
		for number := 1; number <= 4; number++ {
			if err := d.orderChange(ctx, u, number, small, "1"); err != nil {
				return err
			}
		}
		return nil
	})
}

// orderChange enqueues one change of a unit: the assignment of some assets to a number of
// devices.
func (d *demo) orderChange(ctx context.Context, u *appsandbookstest.Unit, number, devices int, assets ...string) error {
	if devices == 0 {
		return nil
	}
	o := order{uid: u.UID(), assets: assets}
	for device := range devices {
		serial := fmt.Sprintf("C%02d%07d", number, device)
		if device%97 == 13 {
			u.FailTarget(serial, 9603)
		}
		o.devices = append(o.devices, serial)
	}
	id, err := enqueue(ctx, d.pool, d.store, d.jobs, d.clients, o)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.planned[id] = u
	d.mu.Unlock()
	return nil
}

// forEachUnit calls f for each unit, for eight units at the same time.
func (d *demo) forEachUnit(f func(i int, u *appsandbookstest.Unit) error) error {
	var group errgroup.Group
	group.SetLimit(8)
	for i, u := range d.units {
		group.Go(func() error { return f(i, u) })
	}
	return group.Wait()
}
