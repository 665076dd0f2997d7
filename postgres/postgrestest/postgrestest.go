//go:build unix

/*
Package postgrestest starts a PostgreSQL server for tests. The PostgreSQL server
has a temporary directory and a free port of the loopback interface. It writes
to disk as in production, so tests can kill it and start it again.

The package needs the programs of PostgreSQL (Debian: apt-get install
postgresql) and no privileges. As root, the package runs them as the user
postgres or nobody, because PostgreSQL does not run as root. It works on Unix
only.
*/
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNotInstalled means that the programs of the PostgreSQL server were not found on this
// machine.
var ErrNotInstalled = errors.New("postgrestest: no PostgreSQL server programs in POSTGRES_BIN, PATH or /usr/lib/postgresql")

// A Server is a PostgreSQL server that [Start] started.
type Server struct {
	bin, dir string
	port     int
	user     *syscall.Credential // runs the PostgreSQL server; nil means the current user
}

// Find returns the directory of the PostgreSQL server's programs. It looks into the
// environment variable POSTGRES_BIN, then into PATH, then into Debian's directories, the
// newest version first.
func Find() (dir string, err error) {
	candidates := []string{os.Getenv("POSTGRES_BIN")}
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(versions, func(a, b string) int {
		number := func(s string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
			return n
		}
		return number(b) - number(a)
	})
	for _, c := range append(candidates, versions...) {
		if c == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(c, "postgres")); err == nil {
			return c, nil
		}
	}
	return "", ErrNotInstalled
}

// Start creates a database cluster and starts a PostgreSQL server for it. Call
// [Server.Stop] at the end of the tests.
func Start() (*Server, error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.dir, err = os.MkdirTemp("", "postgrestest-"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		if err := s.chooseUser(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(s.dir))
		}
	}
	if s.port, err = freePort(); err == nil {
		err = s.run("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.data(), "postgresql.auto.conf"), fmt.Appendf(nil, `
listen_addresses = '127.0.0.1'
port = %d
unix_socket_directories = ''
max_connections = 200
shared_buffers = '128MB'
max_wal_size = '512MB'
deadlock_timeout = '500ms'
log_lock_waits = on
track_functions = 'pl'
log_autovacuum_min_duration = -1
`, s.port), 0o644)
	}
	if err == nil {
		err = s.Restart()
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// chooseUser selects the user that runs the programs of PostgreSQL: postgres, or nobody
// if the user postgres does not exist. The user becomes the owner of the server's
// directory.
func (s *Server) chooseUser() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) run(program string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	out, err := os.CreateTemp("", "postgrestest-*.out") // the PostgreSQL server would keep a pipe open
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w\n%s", program, err, text)
	}
	return nil
}

// URL returns the URL with which a client connects to the PostgreSQL server.
func (s *Server) URL() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// Log returns the log of the PostgreSQL server.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// Kill stops the PostgreSQL server without a shutdown, like a power failure.
// [Server.Restart] then recovers the data from the write-ahead log.
func (s *Server) Kill() error {
	return s.run("pg_ctl", "-D", s.data(), "-m", "immediate", "-w", "stop")
}

// Restart starts the PostgreSQL server again after [Server.Kill].
func (s *Server) Restart() error {
	if err := s.run("pg_ctl", "-D", s.data(), "-l", filepath.Join(s.dir, "log"), "-w", "-t", "60", "start"); err != nil {
		return fmt.Errorf("%w\n%s", err, s.Log())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// Stop stops the PostgreSQL server and deletes its directory.
func (s *Server) Stop() error {
	_ = s.Kill()
	return os.RemoveAll(s.dir)
}
