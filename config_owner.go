package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// A TakeoverError means that another device management service has claimed the
// organizational unit. It matches [ErrTakenOver].
type TakeoverError struct {
	UID string  // of the organizational unit
	By  MDMInfo // the other device management service, as the answer of Apple's service shows it
}

// Error returns a text with the name and the id of the other device management service.
func (e *TakeoverError) Error() string {
	return fmt.Sprintf("%v: %q (id %q) has claimed unit %s", ErrTakenOver, shorten(clean(e.By.Name), 100), shorten(clean(e.By.ID), 100), e.UID)
}

// Is reports whether target is [ErrTakenOver].
func (e *TakeoverError) Is(target error) bool { return target == ErrTakenOver }

// WithOwner makes the client stop writing when another device management service claims
// the organizational unit. Apple supports one device management service for each unit, but
// does not lock the unit: a second one that registers replaces the first without an error,
// and then both assign the same licenses. With this option, the client compares the id in
// each mdmInfo that the service sends with owner.ID. When they differ:
//
//   - The client calls onTakeover once, unless it is nil. The goroutine of the call that
//     received the answer runs it, so it must return quickly.
//   - Every write returns a [*TakeoverError] and is not sent. The write whose answer
//     showed the takeover was carried out, and is reported as a success.
//   - Reads continue.
//
// [ConfigService.Claim] claims the unit again. The client ignores answers without an
// mdmInfo. The option itself claims nothing; call [ConfigService.Register].
func WithOwner(owner MDMInfo, onTakeover func(*TakeoverError)) Option {
	return func(o *options) error {
		if err := owner.check(); err != nil {
			return fmt.Errorf("WithOwner: %w", err)
		}
		o.guard = &guard{owner: owner, onTakeover: onTakeover}
		return nil
	}
}

// check returns an error if a field of the MDMInfo is empty.
func (m MDMInfo) check() error {
	if m.ID == "" || m.Name == "" || m.Metadata == "" {
		return errors.New("the ID, Name and Metadata of MDMInfo must not be empty")
	}
	return nil
}

// guard stops writes after another device management service has claimed the unit. A
// nil guard allows every request.
type guard struct {
	owner      MDMInfo
	onTakeover func(*TakeoverError)

	mu         sync.Mutex
	takeover   *TakeoverError // the last takeover that an answer showed; nil if the unit is not taken over
	generation int            // number of confirmed claims; answers to requests sent before a claim are ignored
}

// checkWrite returns an error for a write after a takeover, unless the write is a claim.
// The result generation is the argument for observe.
func (g *guard) checkWrite(r request) (generation int, err error) {
	if g == nil {
		return 0, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	write := r.class == transport.Write || r.class == transport.Repeatable
	if g.takeover != nil && write && !r.claim {
		return 0, g.takeover
	}
	return g.generation, nil
}

// observe records a takeover if the answer to a request has the mdmInfo of another
// device management service. The generation is from the checkWrite of the request.
func (g *guard) observe(generation int, m *Meta) {
	if g == nil || m.MDMInfo == nil || m.MDMInfo.ID == "" || m.MDMInfo.ID == g.owner.ID {
		return
	}
	takeover := &TakeoverError{UID: m.UID, By: *m.MDMInfo}
	g.mu.Lock()
	first := generation == g.generation && g.takeover == nil
	if generation == g.generation {
		g.takeover = takeover
	}
	g.mu.Unlock()
	if first && g.onTakeover != nil {
		g.onTakeover(takeover)
	}
}

// confirmClaim allows writes again, after the service confirmed a claim of this client.
func (g *guard) confirmClaim() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.takeover = nil
	g.generation++
}

// checkClaim returns an error if m would claim the unit for another device management
// service. After a takeover it returns nil, because checkWrite then stops the request
// with a better error.
func (g *guard) checkClaim(m *MDMInfo) error {
	if g == nil || m == nil || m.ID == g.owner.ID {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.takeover != nil {
		return nil
	}
	return invalidf("MDMInfo.ID differs from the ID of WithOwner")
}

// Claim claims the organizational unit for the device management service of
// [WithOwner], also if another one manages the unit, and allows writes again. First make
// sure that the other one no longer claims the unit; otherwise the two replace each
// other again and again.
//
// Claim sends only the MDMInfo. The notification URL may still be that of the other
// device management service: call [ConfigService.Register] next.
//
// Claim is retried like a read: the same claim sent twice has the same result. It
// returns a [*TakeoverError] if the answer shows another device management service, and
// [ErrAnswerDiffers] if the answer shows none. Both come with the answer, and writes are
// not allowed again.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) Claim(ctx context.Context) (*ClientConfig, error) {
	g := s.client.opts.guard
	if g == nil {
		return nil, invalidf("Claim needs a client with the option WithOwner")
	}
	config, err := s.updateClientConfig(ctx, Registration{MDMInfo: &g.owner}, true)
	if err != nil {
		return nil, fmt.Errorf("claiming the unit: %w", err)
	}
	switch m := config.MDMInfo; {
	case m == nil || m.ID == "":
		return config, fmt.Errorf("claiming the unit: %w: the answer has no mdmInfo", ErrAnswerDiffers)
	case m.ID != g.owner.ID:
		return config, fmt.Errorf("claiming the unit: %w", &TakeoverError{UID: config.UID, By: *m})
	}
	g.confirmClaim()
	return config, nil
}
