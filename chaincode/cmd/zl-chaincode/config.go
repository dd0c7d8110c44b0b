package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Config is the server's configuration. Paths are relative to the folder of the file; unknown keys are
// refused. The environment names that operators know from other chaincode servers win over the file; each
// stands beside its key.
type Config struct {
	ID            string    `yaml:"id"`             // package id that the peer installed, label:hash (CHAINCODE_ID)
	Name          string    `yaml:"name"`           // of the chaincode on its channel; calls through another chaincode are refused
	Listen        string    `yaml:"listen"`         // host:port for peers (CHAINCODE_SERVER_ADDRESS)
	TLS           TLSConfig `yaml:"tls"`            //
	Insecure      bool      `yaml:"insecure"`       // serve without TLS; only on a loopback address (CHAINCODE_TLS_DISABLED)
	GenesisDigest string    `yaml:"genesis_digest"` // digest of the one genesis document that Init accepts here
	ImportFrom    string    `yaml:"import_from"`    // hash of block 0 of the ledger that is moved here; "" where none is
	Admin         string    `yaml:"admin"`          // host:port of /healthz, /readyz and /metrics; beyond loopback it speaks TLS
	StopWithin    Duration  `yaml:"stop_within"`    // how long running transactions may take to finish when stopping
	LogLevel      string    `yaml:"log_level"`      // debug (one line a call, never its arguments), info, warn, error

	dir string // of the file
}

// TLSConfig names PEM files. They are read again at each connection and probe: a renewed certificate needs no restart.
type TLSConfig struct {
	Cert        string `yaml:"cert"`         // certificate and its chain (CHAINCODE_TLS_CERT)
	Key         string `yaml:"key"`          // (CHAINCODE_TLS_KEY)
	ClientRoots string `yaml:"client_roots"` // authorities of the peers' client certificates; given, they are required (CHAINCODE_CLIENT_CA_CERT)
}

// Duration is written as 10s or 1m30s.
type Duration time.Duration

// UnmarshalText parses.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err == nil && v < 0 {
		err = errors.New("it is negative")
	}
	*d = Duration(v)
	return err
}

func defaults() Config {
	return Config{Name: "zhenglian", Admin: "127.0.0.1:9998", StopWithin: Duration(10 * time.Second), LogLevel: "info"}
}

// maxConfig bounds the file in bytes.
const maxConfig = 1 << 20

// LoadConfig reads the file, puts the environment over it and checks the whole.
func LoadConfig(path string, getenv func(string) string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("%s is larger than %d bytes: it is no configuration", path, maxConfig)
	}
	c, err := parseConfig(raw, getenv)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.dir = filepath.Dir(path)
	return c, nil
}

func parseConfig(raw []byte, getenv func(string) string) (*Config, error) {
	c := defaults()
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for name, into := range map[string]*string{
		"CHAINCODE_ID": &c.ID, "CHAINCODE_SERVER_ADDRESS": &c.Listen, "CHAINCODE_TLS_CERT": &c.TLS.Cert,
		"CHAINCODE_TLS_KEY": &c.TLS.Key, "CHAINCODE_CLIENT_CA_CERT": &c.TLS.ClientRoots,
	} {
		if v := getenv(name); v != "" {
			*into = v
		}
	}
	if v := getenv("CHAINCODE_TLS_DISABLED"); v != "" {
		off, err := strconv.ParseBool(v)
		if err != nil {
			return nil, fmt.Errorf("CHAINCODE_TLS_DISABLED is %q: say true or false", v)
		}
		c.Insecure = off
	}
	return &c, c.check()
}

func (c *Config) check() error {
	if label, hash, ok := strings.Cut(c.ID, ":"); !ok || label == "" || hash == "" {
		return fmt.Errorf("id is %q: give the package id as `peer lifecycle chaincode queryinstalled` shows it (label:hash), here or in CHAINCODE_ID", c.ID)
	}
	if c.Name == "" {
		return errors.New("name is empty: give the chaincode's name on its channel, or leave the key out for zhenglian")
	}
	if err := address("listen", c.Listen); err != nil {
		return fmt.Errorf("%w, here or in CHAINCODE_SERVER_ADDRESS", err)
	}
	if err := address("admin", c.Admin); err != nil {
		return err
	}
	if c.Insecure {
		if !loopback(c.Listen) {
			return fmt.Errorf("insecure is only for a loopback address, but listen is %s: give tls.cert and tls.key", c.Listen)
		}
		if c.TLS != (TLSConfig{}) {
			return errors.New("insecure serves without TLS, but tls is given: leave out one of them")
		}
	} else if c.TLS.Cert == "" || c.TLS.Key == "" {
		return errors.New("tls.cert and tls.key are needed (or, on a loopback address only, insecure: true)")
	}
	if !loopback(c.Listen) && c.TLS.ClientRoots == "" {
		return fmt.Errorf("listen: %s is beyond this machine, so anyone could call the contract there: give tls.client_roots, the authorities of your peers' client certificates", c.Listen)
	}
	if !loopback(c.Admin) && c.Insecure {
		return fmt.Errorf("admin: %s is beyond this machine, so tls.cert and tls.key are needed", c.Admin)
	}
	if _, err := digest("genesis_digest", c.GenesisDigest); err != nil {
		return fmt.Errorf("%w: `zhenglian consortium genesis` printed it (for a pilot that moves here, `zhenglian migrate plan`), and every member uses the same", err)
	}
	if c.ImportFrom != "" {
		if _, err := digest("import_from", c.ImportFrom); err != nil {
			return fmt.Errorf("%w: `zhenglian migrate plan` prints it as block 0, and every member uses the same", err)
		}
	}
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("log_level is %q: say debug, info, warn or error", c.LogLevel)
	}
	return nil
}

func address(key, value string) error {
	_, port, err := net.SplitHostPort(value)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s is %q: give host:port", key, value)
	}
	return nil
}

func digest(key, value string) (model.Digest, error) {
	var d model.Digest
	if err := d.UnmarshalText([]byte(value)); err != nil || d.IsZero() {
		return d, fmt.Errorf("%s is %q: give 64 hexadecimal digits", key, value)
	}
	return d, nil
}

func (c *Config) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
