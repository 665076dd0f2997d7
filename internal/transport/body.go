package transport

import (
	"bytes"
	"net/http"
	"sync"
)

// readBody reads the whole body of the answer, decompressed, into a buffer of the pool. It fails
// if the body is longer than MaxBody (MaxError if the status is not 2xx). It removes the token
// from the body.
func (c *callState) readBody(resp *http.Response) error {
	limit := c.transport.cfg.MaxError
	if resp.StatusCode/100 == 2 {
		limit = c.transport.cfg.MaxBody
	}
	if c.body == nil {
		c.body = getBuffer()
	}
	c.body.Reset()
	if n := resp.ContentLength; n > 0 && n <= limit {
		c.body.Grow(int(n) + bytes.MinRead)
	}
	_, err := c.body.ReadFrom(http.MaxBytesReader(nil, resp.Body, limit))
	_ = resp.Body.Close()
	resp.Body = http.NoBody
	// A token of fewer than 16 characters stays: such tokens occur only in tests, and could match
	// ordinary words.
	const shortest = 16
	if token := c.token(); len(token) >= shortest || err != nil {
		c.redactBody(token, err != nil)
	}
	return err
}

// buffers is the pool of buffers for the bodies of answers. A buffer returns to the pool after
// its answer was decoded.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

// putBuffer returns a buffer to the pool, unless the buffer is larger than 4 MiB: the pool must
// not hold the memory of one huge page.
func putBuffer(b *bytes.Buffer) {
	const largest = 4 << 20
	if b.Cap() <= largest {
		b.Reset()
		buffers.Put(b)
	}
}
