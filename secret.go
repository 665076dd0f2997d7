package appsandbooks

import (
	"fmt"
)

// A Secret is a string that prints as [REDACTED] with every fmt verb, in slog and in
// JSON. Only [Secret.Reveal] returns the string.
type Secret struct{ reveal func() string }

// NewSecret returns a Secret that contains s.
func NewSecret(s string) Secret { return Secret{func() string { return s }} }

// Reveal returns the secret string. It returns "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// UnmarshalText implements [encoding.TextUnmarshaler]. The text is the secret itself,
// as the service sends it.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// MarshalText implements [encoding.TextMarshaler]. It returns [REDACTED]; encoding/json
// uses it. So a Secret that is written and read again is lost.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format implements [fmt.Formatter]. It writes [REDACTED] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// redacted replaces secrets in all output.
const redacted = "[REDACTED]"
