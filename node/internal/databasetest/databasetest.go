// Package databasetest runs real database servers for tests: PostgreSQL and MariaDB, each on a free port of 127.0.0.1,
// in a temporary folder, as the user that its Debian package made. Main, or Stop, ends them and removes the folders.
package databasetest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// Kinds of servers, and the Debian package of each.
const (
	Postgres = "postgres"
	MariaDB  = "mariadb"
)

// Password is that of every user.
const Password = "a password, with 'quotes' and spaces"

// Main is a TestMain: it runs the tests and ends the servers.
func Main(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// Stop ends the servers, for good, where a package's TestMain is another.
func Stop() {
	for _, s := range []*server{&postgres, &maria} {
		s.stop()
	}
}

// Database is a database of its own in a server that tests share.
type Database struct {
	Kind    string
	Address string
	Catalog string  // its name
	Roots   []byte  // PEM of the authority of the server's TLS certificate, which names 127.0.0.1
	Admin   *sql.DB // as the server's administrator, in this database
}

// Fresh makes an empty database in a server of the kind, which it starts if it does not run. The users zl_node and
// zl_office may log in. Without the server's program the test is skipped; under ZL_STRICT it fails.
func Fresh(t testing.TB, kind string) *Database {
	t.Helper()
	s := &postgres
	if kind == MariaDB {
		s = &maria
	}
	s.once.Do(func() { s.err = s.start() })
	if errors.Is(s.err, errAbsent) {
		if os.Getenv("ZL_STRICT") != "" {
			t.Fatal(s.err)
		}
		t.Skip(s.err)
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	s.mu.Lock()
	s.made++
	d := &Database{Kind: kind, Address: s.address, Catalog: "zhenglian_" + strconv.Itoa(s.made), Roots: s.roots}
	s.mu.Unlock()
	if kind == Postgres {
		must(t, s.admin, "CREATE DATABASE "+d.Catalog)
		d.Admin = s.connect(d.Catalog, "postgres")
	} else {
		must(t, s.admin, "CREATE DATABASE "+d.Catalog+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
		d.Admin = s.connect(d.Catalog, "root")
	}
	t.Cleanup(func() { _ = d.Admin.Close() })
	return d
}

// As connects as another user.
func (d *Database) As(t testing.TB, user string) *sql.DB {
	t.Helper()
	s := &postgres
	if d.Kind == MariaDB {
		s = &maria
	}
	db := s.connect(d.Catalog, user)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Exec runs statements as the administrator.
func (d *Database) Exec(t testing.TB, statements string) {
	t.Helper()
	must(t, d.Admin, statements)
}

func must(t testing.TB, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

var (
	errAbsent = errors.New("not installed: apt-get install postgresql mariadb-server")
	postgres  = server{kind: Postgres}
	maria     = server{kind: MariaDB}
)

type server struct {
	kind string
	once sync.Once
	err  error

	dir     string
	cmd     *exec.Cmd
	ended   chan struct{}
	said    bytes.Buffer
	address string
	roots   []byte
	admin   *sql.DB

	mu   sync.Mutex
	made int // databases; under mu
}

func (s *server) connect(catalog, user string) *sql.DB {
	if s.kind == Postgres {
		cfg, err := pgx.ParseConfig("sslmode=disable host=127.0.0.1")
		if err != nil {
			panic(err)
		}
		_, port, _ := net.SplitHostPort(s.address)
		n, _ := strconv.Atoi(port)
		cfg.Port, cfg.Database, cfg.User, cfg.Password = uint16(n), catalog, user, Password
		return stdlib.OpenDB(*cfg)
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.DBName, cfg.User, cfg.Passwd = "tcp", s.address, catalog, user, Password
	cfg.MultiStatements, cfg.Collation = true, "utf8mb4_bin"
	cfg.Params = map[string]string{"time_zone": "'+08:00'"}
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		panic(err)
	}
	return sql.OpenDB(c)
}

// program finds a server's program; Debian keeps PostgreSQL's out of PATH.
func program(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/"} {
		found, _ := filepath.Glob(pattern + name)
		slices.Sort(found)
		if len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("%s is %w", name, errAbsent)
}

func (s *server) start() error {
	var err error
	if s.dir, err = os.MkdirTemp("", "zl-"+s.kind+"-"); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	_, port, _ := net.SplitHostPort(s.address)
	_ = l.Close()
	ca, err := msp.NewCA("DatabaseMSP", "ca.database")
	if err != nil {
		return err
	}
	cert, key, err := ca.IssueTLS("database", []string{"127.0.0.1"}, msp.Validity{})
	if err != nil {
		return err
	}
	if err := ca.Save(s.dir); err != nil {
		return err
	}
	if s.roots, err = os.ReadFile(filepath.Join(s.dir, "ca.crt")); err != nil {
		return err
	}
	tlsCert, tlsKey, data := filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key"), filepath.Join(s.dir, "data")
	if err := errors.Join(os.WriteFile(tlsCert, cert, 0o600), os.WriteFile(tlsKey, key, 0o600)); err != nil {
		return err
	}
	owner := map[string]string{Postgres: "postgres", MariaDB: "mysql"}[s.kind]
	credential, err := s.give(owner, tlsCert, tlsKey)
	if err != nil {
		return err
	}
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(Password+"\n"), 0o644); err != nil {
		return err
	}
	var make, serve []string
	if s.kind == Postgres {
		make = []string{"initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-A", "scram-sha-256", "--pwfile", password}
		serve = []string{"postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-k", s.dir, "-c", "fsync=off", "-c", "ssl=on",
			"-c", "ssl_cert_file=" + tlsCert, "-c", "ssl_key_file=" + tlsKey}
	} else {
		make = []string{"mariadb-install-db", "--no-defaults", "--datadir=" + data, "--skip-test-db", "--auth-root-authentication-method=normal"}
		if credential != nil {
			make = append(make, "--user="+owner)
		}
		serve = []string{"mariadbd", "--no-defaults", "--datadir=" + data, "--port=" + port, "--bind-address=127.0.0.1", "--skip-name-resolve",
			"--socket=" + filepath.Join(s.dir, "s"), "--pid-file=" + filepath.Join(s.dir, "pid"), "--ssl-cert=" + tlsCert, "--ssl-key=" + tlsKey,
			"--innodb-flush-log-at-trx-commit=0", "--tmpdir=" + s.dir}
	}
	for _, c := range [][]string{make, serve} {
		if _, err := program(c[0]); err != nil {
			return err
		}
	}
	if out, err := s.command(credential, make...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", make[0], err, out)
	}
	s.cmd = s.command(credential, serve...)
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = chanOf(s.cmd)
	return s.ready()
}

func chanOf(cmd *exec.Cmd) chan struct{} {
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	return ended
}

// give hands the folder to the server's own user, where this process may: neither server runs as root.
func (s *server) give(owner string, paths ...string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(owner)
	if err != nil {
		return nil, fmt.Errorf("%s is %w", s.kind, errAbsent)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for _, p := range append(paths, s.dir) {
		if err := os.Chown(p, uid, gid); err != nil {
			return nil, err
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (s *server) command(credential *syscall.Credential, args ...string) *exec.Cmd {
	p, err := program(args[0])
	if err != nil {
		p = args[0]
	}
	c := exec.Command(p, args[1:]...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+s.dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Pdeathsig: syscall.SIGKILL}
	if s.kind == MariaDB && args[0] != "mariadbd" { // it changes to the user by itself
		c.SysProcAttr.Credential = nil
	}
	return c
}

// ready waits for the server and makes the users.
func (s *server) ready() error {
	root, setup := "postgres", []string{
		"CREATE ROLE zl_node LOGIN PASSWORD 'a password, with ''quotes'' and spaces'",
		"CREATE ROLE zl_office LOGIN PASSWORD 'a password, with ''quotes'' and spaces'",
	}
	catalog := "postgres"
	if s.kind == MariaDB {
		root, catalog = "root", ""
		setup = []string{
			"CREATE USER zl_node IDENTIFIED BY 'a password, with ''quotes'' and spaces'",
			"CREATE USER zl_office IDENTIFIED BY 'a password, with ''quotes'' and spaces'",
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.kind == MariaDB {
		if err := s.rootPassword(ctx); err != nil {
			return err
		}
	}
	s.admin = s.connect(catalog, root)
	for {
		err := s.admin.PingContext(ctx)
		if err == nil {
			break
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended:\n%s", s.said.String())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, q := range setup {
		if _, err := s.admin.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

// rootPassword gives MariaDB's root a password, and a place to log in from over TCP.
func (s *server) rootPassword(ctx context.Context) error {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User = "unix", filepath.Join(s.dir, "s"), "root"
	cfg.Logger = nil
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	defer db.Close()
	for {
		_, err := db.ExecContext(ctx, "CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY 'a password, with ''quotes'' and spaces'")
		if err == nil {
			_, err = db.ExecContext(ctx, "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION")
			return err
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended:\n%s", s.said.String())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *server) stop() {
	if s.admin != nil {
		_ = s.admin.Close()
	}
	if s.cmd != nil && s.ended != nil {
		signal := syscall.SIGQUIT // PostgreSQL: at once
		if s.kind == MariaDB {
			signal = syscall.SIGTERM
		}
		_ = s.cmd.Process.Signal(signal)
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.ended
		}
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}
