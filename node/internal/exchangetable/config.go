package exchangetable

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Database is a kind of database.
type Database string

// The databases that there are dialects for.
const (
	Postgres Database = "postgres"
	MariaDB  Database = "mariadb"
)

// Config says where an exchange table is and how it is reached.
type Config struct {
	Name     string   // of the table in metrics and idempotency keys; never changes
	Database Database // postgres or mariadb
	Address  string   // host:port
	Catalog  string   // the database
	Schema   string   // PostgreSQL: the schema; MariaDB has none
	User     string
	Password func() (string, error) // read anew for every connection, so that it can be changed while the node runs
	TLS      *tls.Config            // nil: without TLS
	Node     string                 // this node's id, in the answers that are its own
	Poll     time.Duration          // between looks at the table when nothing wakes the node; default 2 s
	Rows     int                    // taken at once, at most; default 200

	hurry time.Duration // tests divide the deadlines below and the longest pause by it; 0: as they are
}

func (c *Config) scaled(d time.Duration) time.Duration { return d / max(1, c.hurry) }

// Deadlines inside the database, so that a table that somebody has locked holds up one statement and no more.
const (
	lockTimeout      = 5 * time.Second
	statementTimeout = 15 * time.Second
	roundTimeout     = 30 * time.Second // of one transaction, seen from here
	dialTimeout      = 5 * time.Second
)

// beijing is the session's time zone in MariaDB, whose datetime has none.
var beijing = time.FixedZone("Asia/Shanghai", 8*3600)

// pgConfig is a connection to PostgreSQL.
func (c *Config) pgConfig() (*pgx.ConnConfig, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	// Everything is set below; the environment (PGHOST, PGSERVICE …) has no say.
	cfg, err := pgx.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, err
	}
	var n uint16
	if _, err := fmt.Sscan(port, &n); err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	if c.Password != nil {
		if cfg.Password, err = c.Password(); err != nil {
			return nil, err
		}
	}
	cfg.Host, cfg.Port, cfg.Database, cfg.User, cfg.TLSConfig, cfg.Fallbacks = host, n, c.Catalog, c.User, c.TLS, nil
	cfg.ConnectTimeout = dialTimeout
	cfg.RuntimeParams = map[string]string{
		"application_name":                    "zhenglian " + c.Node,
		"search_path":                         c.Schema,
		"lock_timeout":                        fmt.Sprint(c.scaled(lockTimeout).Milliseconds()),
		"statement_timeout":                   fmt.Sprint(c.scaled(statementTimeout).Milliseconds()),
		"idle_in_transaction_session_timeout": fmt.Sprint(c.scaled(roundTimeout).Milliseconds()),
		"timezone":                            "Asia/Shanghai",
		"datestyle":                           "ISO",
	}
	return cfg, nil
}

// open prepares connections; none is made yet.
func (c *Config) open() (*sql.DB, error) {
	var db *sql.DB
	switch c.Database {
	case Postgres:
		cfg, err := c.pgConfig()
		if err != nil {
			return nil, err
		}
		db = stdlib.OpenDB(*cfg, stdlib.OptionBeforeConnect(func(_ context.Context, cc *pgx.ConnConfig) error {
			fresh, err := c.pgConfig()
			if err == nil {
				cc.Password = fresh.Password
			}
			return err
		}))
	case MariaDB:
		cfg := mysql.NewConfig()
		cfg.Net, cfg.Addr, cfg.DBName, cfg.User = "tcp", c.Address, c.Catalog, c.User
		cfg.Collation, cfg.Loc, cfg.ParseTime = "utf8mb4_bin", beijing, true
		cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = dialTimeout, c.scaled(roundTimeout), c.scaled(roundTimeout)
		cfg.TLS, cfg.RejectReadOnly = c.TLS, true
		cfg.Logger = silent{}
		cfg.Params = map[string]string{
			"time_zone":                "'+08:00'",
			"lock_wait_timeout":        fmt.Sprint(int(c.scaled(lockTimeout).Seconds())),
			"innodb_lock_wait_timeout": fmt.Sprint(int(c.scaled(lockTimeout).Seconds())),
			"max_statement_time":       fmt.Sprint(int(c.scaled(statementTimeout).Seconds())),
			"sql_mode":                 "'TRADITIONAL'",
		}
		if err := cfg.Apply(mysql.BeforeConnect(func(_ context.Context, mc *mysql.Config) (err error) {
			if c.Password != nil {
				mc.Passwd, err = c.Password()
			}
			return err
		})); err != nil {
			return nil, err
		}
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			return nil, err
		}
		db = sql.OpenDB(connector)
	default:
		return nil, fmt.Errorf("database %q: postgres or mariadb", c.Database)
	}
	db.SetMaxOpenConns(2)
	db.SetConnMaxLifetime(10 * time.Minute)
	return db, nil
}

// silent keeps the driver from writing to the process's standard error; what fails is told by the loop.
type silent struct{}

func (silent) Print(...any) {}

// placeholders writes PostgreSQL's $n for ?.
func (c *Config) placeholders(query string) string {
	if c.Database != Postgres {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r == '?' {
			n++
			fmt.Fprintf(&b, "$%d", n)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Check finds what cannot be right.
func (c *Config) Check() error {
	if c.Database != Postgres && c.Database != MariaDB {
		return fmt.Errorf("database %q: postgres or mariadb", c.Database)
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if !Plain(c.Catalog) || (c.Database == Postgres && !Plain(c.Schema)) {
		return errors.New("name of the database or the schema: lower-case letters, digits and _ only")
	}
	return nil
}
