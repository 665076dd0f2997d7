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

// vendor is what a vendor has somewhere else, in a vault for instance. Neither
// tokens nor secrets get into the database.
type vendor struct {
	BaseURL string            `json:"baseUrl"`
	Secret  string            `json:"notificationSecret"`
	Tokens  map[string]string `json:"tokens"` // by uId
}

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

func (v *vendor) write(file string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// clients makes the clients of organizational units, and keeps them: a client has
// the service configuration, connections, and this process's part of the pace.
// With very many units, let go of those that were not used for an hour.
type clients struct {
	vendor *vendor
	store  *postgres.Store
	opts   []appsandbooks.Option

	mu  sync.Mutex
	all map[string]*appsandbooks.Client
}

func (c *clients) of(uid string) (*appsandbooks.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client := c.all[uid]; client != nil {
		return client, nil
	}
	source := func(context.Context) (string, error) {
		token, ok := c.vendor.Tokens[uid]
		if !ok {
			return "", fmt.Errorf("no token of unit %s", uid)
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
