package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// TakeoverError tells who has taken the organizational unit over. It is
// [ErrTakenOver].
type TakeoverError struct {
	UID string  // of the organizational unit
	By  MDMInfo // as the service's answers show it now
}

// Error names the other service.
func (e *TakeoverError) Error() string {
	return fmt.Sprintf("%v: %q (id %q) has claimed unit %s", ErrTakenOver, shorten(clean(e.By.Name), 100), shorten(clean(e.By.ID), 100), e.UID)
}

// Is matches [ErrTakenOver].
func (e *TakeoverError) Is(target error) bool { return target == ErrTakenOver }

// WithOwner guards the organizational unit. Apple supports one device
// management service for each, and has no lock: a second one that registers
// replaces the first silently, and from then on both assign the same licences.
// With this option, the mdmInfo of every answer that carries one is compared
// with ours, by ID. After one of another service
//
//   - lost is called, once and from the goroutine that saw it, unless it is
//     nil; it must return quickly;
//   - every write fails with a [*TakeoverError] before it is sent; a write whose
//     own answer showed the takeover was carried out and is reported as such;
//   - reads go on.
//
// [ConfigService.Claim] claims the unit back. An answer without mdmInfo
// says nothing, and the option by itself claims nothing: use
// [ConfigService.Register].
func WithOwner(ours MDMInfo, lost func(*TakeoverError)) Option {
	return func(o *options) error {
		if err := ours.check(); err != nil {
			return fmt.Errorf("WithOwner: %w", err)
		}
		o.guard = &guard{ours: ours, lost: lost}
		return nil
	}
}

func (m MDMInfo) check() error {
	if m.ID == "" || m.Name == "" || m.Metadata == "" {
		return errors.New("the ID, Name and Metadata of MDMInfo must all be given")
	}
	return nil
}

// guard watches who owns the organizational unit. A nil guard lets all pass.
type guard struct {
	ours MDMInfo
	lost func(*TakeoverError)

	mu         sync.Mutex
	taken      *TakeoverError
	generation int // grows with each claim: an answer to what was asked before it is old news
}

// admit refuses writes after a takeover.
func (g *guard) checkWrite(r request) (era int, err error) {
	if g == nil {
		return 0, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	write := r.class == transport.Write || r.class == transport.Repeatable
	if g.taken != nil && write && !r.claim {
		return 0, g.taken
	}
	return g.generation, nil
}

// see compares an answer with what is ours.
func (g *guard) observe(era int, m *Meta) {
	if g == nil || m.MDMInfo == nil || m.MDMInfo.ID == "" || m.MDMInfo.ID == g.ours.ID {
		return
	}
	taken := &TakeoverError{UID: m.UID, By: *m.MDMInfo}
	g.mu.Lock()
	news := era == g.generation && g.taken == nil
	if era == g.generation {
		g.taken = taken
	}
	g.mu.Unlock()
	if news && g.lost != nil {
		g.lost(taken)
	}
}

// claimed follows a claim that the service confirmed.
func (g *guard) confirmClaim() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken = nil
	g.generation++
}

// check refuses a claim for somebody else. After a takeover admit does.
func (g *guard) checkClaim(m *MDMInfo) error {
	if g == nil || m == nil || m.ID == g.ours.ID {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken != nil {
		return nil
	}
	return invalidf("MDMInfo.ID is another than that of WithOwner")
}

// Claim claims the organizational unit for the service of [WithOwner],
// whoever managed it before, and lets writes pass again. Make sure that the
// other service has been told to let go, or the two will go on taking turns.
//
// It sends nothing but the claim. The other service's notification URL may
// still stand: call [ConfigService.Register] next.
//
// Synchronous. Retried like a read: the same claim twice is the same. A
// [*TakeoverError] means that the answer already shows another service, and
// [ErrAnswerDiffers] that it shows none: writes stay stopped then.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) Claim(ctx context.Context) (*ClientConfig, error) {
	g := s.client.opts.guard
	if g == nil {
		return nil, invalidf("Claim is for a client made WithOwner")
	}
	config, err := s.updateClientConfig(ctx, Registration{MDMInfo: &g.ours}, true)
	if err != nil {
		return nil, fmt.Errorf("claiming the unit: %w", err)
	}
	switch m := config.MDMInfo; {
	case m == nil || m.ID == "":
		return config, fmt.Errorf("claiming the unit: %w: no mdmInfo", ErrAnswerDiffers)
	case m.ID != g.ours.ID:
		return config, fmt.Errorf("claiming the unit: %w", &TakeoverError{UID: config.UID, By: *m})
	}
	g.confirmClaim()
	return config, nil
}
