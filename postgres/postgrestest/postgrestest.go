//go:build unix

/*
Package postgrestest runs a PostgreSQL server of one's own for tests: in a
temporary directory, on a port of the loopback interface, with durability as in
production, so that it can be killed. It needs the server's programs (Debian:
apt-get install postgresql) and no privileges; as root it runs them as another
user, because PostgreSQL refuses to be root. Unix only.
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

// ErrNotInstalled says that the server's programs are not on this machine.
var ErrNotInstalled = errors.New("no PostgreSQL server programs: neither in POSTGRES_BIN, nor in PATH, nor in /usr/lib/postgresql")

// Server is a running PostgreSQL.
type Server struct {
	bin, dir string
	port     int
	as       *syscall.Credential
}

// Find is the directory of the server's programs: POSTGRES_BIN, PATH, or Debian's
// place for them, the newest version first.
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

// Start makes a database cluster and starts it.
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
		if err := s.unprivileged(); err != nil {
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
		err = s.Resume()
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// unprivileged finds a user to run as: postgres, or nobody.
func (s *Server) unprivileged() error {
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
	s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	out, err := os.CreateTemp("", "postgrestest-*.out") // a pipe would be held open by the server
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

// URL is where the server's database is.
func (s *Server) URL() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// Log is the server's log so far.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// Kill stops the server as a power failure would: no process of it lives to
// write anything. The next [Server.Resume] recovers from the write-ahead log.
func (s *Server) Kill() error {
	return s.run("pg_ctl", "-D", s.data(), "-m", "immediate", "-w", "stop")
}

// Resume starts the server again.
func (s *Server) Resume() error {
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

// Stop ends the server and deletes everything.
func (s *Server) Stop() error {
	_ = s.Kill()
	return os.RemoveAll(s.dir)
}
