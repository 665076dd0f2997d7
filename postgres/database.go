package postgres

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// database contains the connection pool, the schema's name and the logger, which all
// parts of a store use.
type database struct {
	pool    *pgxpool.Pool
	name    string // the schema's name
	schema  string // the schema's name, quoted for SQL
	channel string // the name of the channel for LISTEN and NOTIFY
	logger  *slog.Logger
}

// sql returns the statement with each {schema} replaced by the quoted name of the schema.
func (d *database) sql(text string) string { return strings.ReplaceAll(text, "{schema}", d.schema) }

// lockKey returns the key of an advisory lock. The key depends on the schema, because an
// advisory lock applies to the whole database.
func (d *database) lockKey(purpose string) int64 {
	sum := sha256.Sum256([]byte("appsandbooks/" + d.name + "/" + purpose))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// warn logs an error of the store's background work as a warning.
func (d *database) warn(message string, err error) {
	d.logger.Warn("postgres: "+message, slog.Any("error", err))
}

// hashUnit returns 16 characters that identify a unit in the payload of NOTIFY. A
// payload has at most 8000 bytes, too few for many uIds.
func hashUnit(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:8])
}

// describe adds the name of the failed action to an error. It also adds the prefix
// "postgres: ", unless the error already has this prefix.
func describe(err error, format string, args ...any) error {
	action := fmt.Sprintf(format, args...)
	if strings.HasPrefix(err.Error(), "postgres: ") {
		return fmt.Errorf("%w (%s)", err, action)
	}
	return fmt.Errorf("postgres: %s: %w", action, err)
}
