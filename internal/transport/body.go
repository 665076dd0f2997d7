package transport

import (
	"bytes"
	"net/http"
	"sync"
)

// read takes the whole body, decompressed and bounded, into a pooled buffer.
func (c *call) read(resp *http.Response) error {
	limit := c.t.cfg.MaxError
	if resp.StatusCode/100 == 2 {
		limit = c.t.cfg.MaxBody
	}
	if c.buf == nil {
		c.buf = getBuffer()
	}
	c.buf.Reset()
	if n := resp.ContentLength; n > 0 && n <= limit {
		c.buf.Grow(int(n) + bytes.MinRead)
	}
	_, err := c.buf.ReadFrom(http.MaxBytesReader(nil, resp.Body, limit))
	_ = resp.Body.Close()
	resp.Body = http.NoBody
	if token := c.token(); len(token) >= 16 || err != nil { // shorter ones are words of somebody's tests
		c.redact(token, err != nil)
	}
	return err
}

// Buffers are shared: a page is decoded and its bytes are free again.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	const keep = 4 << 20 // one huge page must not stay for ever
	if b.Cap() <= keep {
		b.Reset()
		buffers.Put(b)
	}
}
