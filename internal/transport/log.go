package transport

import (
	"log/slog"
	"time"
)

// log writes one log record for each attempt. The record contains neither the query nor the
// headers, because they contain ids and the token. docs/operations.md documents the message and
// the names of the attributes.
func (c *callState) log(again bool, took time.Duration) {
	if c.transport.cfg.Logger == nil {
		return
	}
	level, attrs := slog.LevelDebug, []slog.Attr{
		slog.String("method", c.req.Method),
		slog.String("path", c.req.Name),
		slog.Int("attempt", c.attempts),
		slog.Int("status", c.status),
		slog.Duration("took", took),
	}
	if c.lastErr != nil && !c.succeeded {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", c.lastErr.Error()), slog.Bool("again", again))
		if again {
			attrs = append(attrs, slog.Duration("wait", c.nextWait))
		}
	}
	c.transport.cfg.Logger.LogAttrs(c.caller, level, "appsandbooks: request", attrs...)
}
