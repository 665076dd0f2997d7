package transport

import (
	"log/slog"
	"time"
)

// log writes one event an attempt. Neither query nor headers: ids and secrets.
// Its message and the names of its attributes are documented in docs/operations.md.
func (c *call) log(again bool, took time.Duration) {
	if c.t.cfg.Logger == nil {
		return
	}
	level, attrs := slog.LevelDebug, []slog.Attr{
		slog.String("method", c.req.Method),
		slog.String("path", c.req.Name),
		slog.Int("attempt", c.attempts),
		slog.Int("status", c.status),
		slog.Duration("took", took),
	}
	if c.last != nil && !c.done {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", c.last.Error()), slog.Bool("again", again))
		if again {
			attrs = append(attrs, slog.Duration("wait", c.wait))
		}
	}
	c.t.cfg.Logger.LogAttrs(c.ctx, level, "appsandbooks: request", attrs...)
}
