//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// vendor is the data of a device management service that must not be in the database.
// A real program reads it from a vault, for example.
type vendor struct {
	BaseURL string            `json:"baseUrl"`
	Secret  string            `json:"notificationSecret"`
	Tokens  map[string]string `json:"tokens"` // content tokens by uId
}

// readVendor reads the file that the flag -vendor names.
func readVendor(file string) (*vendor, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	v := new(vendor)
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return v, nil
}

// write writes the data to a file that only the current user can read.
func (v *vendor) write(file string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// clients creates one client for each organizational unit at its first use. A client holds
// the service configuration and connections. A program with very many units should
// close clients that were not used for an hour.
type clients struct {
	vendor *vendor
	store  *postgres.Store
	opts   []appsandbooks.Option

	mu  sync.Mutex
	all map[string]*appsandbooks.Client
}

// get returns the client of the unit with the given uId.
func (c *clients) get(uid string) (*appsandbooks.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client := c.all[uid]; client != nil {
		return client, nil
	}
	source := func(context.Context) (string, error) {
		token, ok := c.vendor.Tokens[uid]
		if !ok {
			return "", fmt.Errorf("no content token for unit %s", uid)
		}
		return token, nil
	}
	client, err := appsandbooks.NewClient("", append([]appsandbooks.Option{
		appsandbooks.WithBaseURL(c.vendor.BaseURL),
		appsandbooks.WithTokenSource(source),
		appsandbooks.WithLimiter(c.store.Limiter(uid)),
		appsandbooks.WithUserAgent("fleet"),
	}, c.opts...)...)
	if err != nil {
		return nil, err
	}
	if c.all == nil {
		c.all = map[string]*appsandbooks.Client{}
	}
	c.all[uid] = client
	return client, nil
}
