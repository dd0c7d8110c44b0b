package fabric

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"crypto/tls"
	"crypto/x509"
)

// A peer asks its external builder what to do with a chaincode package: detect whether it is one for it, build it,
// release what the peer needs to know. Of a chaincode that runs as a service there is nothing to build: the package
// holds the address, and release hands it over. There is no `run`: the service runs by itself.

// Connection is a package's connection.json: how the peer reaches the service. The peer reads it as it stands, so
// keys and roots are inside.
type Connection struct {
	Address            string `json:"address"` // host:port
	DialTimeout        string `json:"dial_timeout"`
	TLSRequired        bool   `json:"tls_required"`
	ClientAuthRequired bool   `json:"client_auth_required"`
	ClientKey          string `json:"client_key,omitempty"`
	ClientCert         string `json:"client_cert,omitempty"`
	RootCert           string `json:"root_cert,omitempty"`
}

// Metadata is a package's metadata.json.
type Metadata struct {
	Type  string `json:"type"`
	Path  string `json:"path,omitempty"`
	Label string `json:"label"`
}

const (
	packageType    = "ccaas"
	maxPackageFile = 64 << 10 // bytes of one file of a package
)

// errOtherBuilder says that a package is for another builder: no fault.
var errOtherBuilder = errors.New("not a chaincode that runs as a service")

// Builder is the external builder: args are detect, build or release and the folders that the peer gives.
func Builder(args []string) error {
	if len(args) == 0 {
		return errors.New("the peer calls this: ccaas detect|build|release FOLDER…")
	}
	want := map[string]int{"detect": 2, "build": 3, "release": 2}
	n, ok := want[args[0]]
	if !ok || len(args) != n+1 {
		return fmt.Errorf("ccaas %s with %d folders: the peer calls detect with 2, build with 3, release with 2", args[0], len(args)-1)
	}
	switch args[0] {
	case "detect":
		_, err := readMetadata(args[2])
		return err
	case "build":
		if _, err := readMetadata(args[2]); err != nil {
			return err
		}
		raw, err := readConnection(args[1])
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(args[3], "connection.json"), raw, 0o600)
	default:
		raw, err := readConnection(args[1])
		if err != nil {
			return err
		}
		dir := filepath.Join(args[2], "chaincode", "server")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "connection.json"), raw, 0o600)
	}
}

func readMetadata(dir string) (Metadata, error) {
	raw, err := readBounded(filepath.Join(dir, "metadata.json"))
	if err != nil {
		return Metadata{}, err
	}
	return ParseMetadata(raw)
}

func readConnection(dir string) ([]byte, error) {
	raw, err := readBounded(filepath.Join(dir, "connection.json"))
	if err != nil {
		return nil, err
	}
	if _, err := ParseConnection(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPackageFile+1))
	if err == nil && len(raw) > maxPackageFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxPackageFile)
	}
	return raw, err
}

func strict(raw []byte, v any) error {
	if len(raw) > maxPackageFile {
		return fmt.Errorf("larger than %d bytes", maxPackageFile)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// ParseMetadata reads a package's metadata.json.
func ParseMetadata(raw []byte) (Metadata, error) {
	var m Metadata
	if err := strict(raw, &m); err != nil {
		return m, fmt.Errorf("metadata.json: %w", err)
	}
	if m.Type != packageType {
		return m, fmt.Errorf("type %q: %w", m.Type, errOtherBuilder)
	}
	if m.Label == "" || len(m.Label) > 128 {
		return m, errors.New("metadata.json: label: 1 to 128 characters")
	}
	return m, nil
}

// ParseConnection reads a package's connection.json. What the peer would find out at the first call, and report as a
// chaincode that does not answer, is refused here: an address that is none, TLS without roots, a key without its
// certificate.
func ParseConnection(raw []byte) (Connection, error) {
	var c Connection
	if err := strict(raw, &c); err != nil {
		return c, fmt.Errorf("connection.json: %w", err)
	}
	bad := func(field, why string) (Connection, error) {
		return c, fmt.Errorf("connection.json: %s: %s", field, why)
	}
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" {
		return bad("address", fmt.Sprintf("%q is not host:port", c.Address))
	}
	if p, err := strconv.Atoi(port); err != nil || p < 1 || p > 65535 {
		return bad("address", fmt.Sprintf("%q is no port", port))
	}
	if c.DialTimeout != "" {
		if d, err := time.ParseDuration(c.DialTimeout); err != nil || d <= 0 || d > 5*time.Minute {
			return bad("dial_timeout", fmt.Sprintf("%q is not a duration up to 5m", c.DialTimeout))
		}
	}
	if !c.TLSRequired {
		if c.ClientAuthRequired || c.ClientKey != "" || c.ClientCert != "" || c.RootCert != "" {
			return bad("tls_required", "is false, yet there are certificates")
		}
		return c, nil
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(c.RootCert)) {
		return bad("root_cert", "holds no PEM certificate")
	}
	if c.ClientAuthRequired {
		if _, err := tls.X509KeyPair([]byte(c.ClientCert), []byte(c.ClientKey)); err != nil {
			return bad("client_cert", err.Error())
		}
	}
	return c, nil
}

// writeBuilder makes the three programs that the peer looks for: each calls this package's Builder.
func (n *Network) writeBuilder() error {
	dir := n.path("builder", "bin")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"detect", "build", "release"} {
		script := "#!/bin/sh\nexec " + shellQuoted(n.Spec().Builder) + " ccaas " + name + " \"$@\"\n"
		if err := writeFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func shellQuoted(s string) string {
	return "'" + string(bytes.ReplaceAll([]byte(s), []byte("'"), []byte(`'\''`))) + "'"
}
