package appsandbookstest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// A random is a seed. Random data is derived from the seed, a label and a
// number, and not from a shared stream. The result therefore does not depend on
// the order in which goroutines call its methods.
type random uint64

// sum returns the 32 random bytes of a label and a number.
func (r random) sum(label string, n uint64) [sha256.Size]byte {
	b := make([]byte, 0, 16+len(label))
	b = binary.BigEndian.AppendUint64(b, uint64(r))
	b = binary.BigEndian.AppendUint64(b, n)
	b = append(b, label...)
	return sha256.Sum256(b)
}

// uuid returns the version 4 UUID of a label and a number.
func (r random) uuid(label string, n uint64) string {
	b := r.sum(label, n)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// hex returns 32 random hexadecimal digits.
func (r random) hex(label string, n uint64) string {
	b := r.sum(label, n)
	return hex.EncodeToString(b[:16])
}

// hash returns 20 random bytes in base64, the form of an idHash.
func (r random) hash(label string, n uint64) string {
	b := r.sum(label, n)
	return base64.StdEncoding.EncodeToString(b[:20])
}

// secret returns 48 random bytes in base64.
func (r random) secret(label string, n uint64) string {
	a, b := r.sum(label, n), r.sum(label+"+", n)
	return base64.StdEncoding.EncodeToString(append(a[:], b[:16]...))
}

// uid returns a uId: 16 digits that begin with 2049.
func (r random) uid(n uint64) string {
	b := r.sum("uid", n)
	return fmt.Sprintf("2049%012d", binary.BigEndian.Uint64(b[:8])%1e12)
}

// float returns a random number from 0 to 1, without 1.
func (r random) float(label string, n uint64) float64 {
	b := r.sum(label, n)
	return float64(binary.BigEndian.Uint64(b[:8])>>11) / (1 << 53)
}
