package fabric

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ChaincodeListen is the host:port on which the peer waits for chaincodes that dial in. None does, but the peer does
// not start without it.
func (p *Peer) ChaincodeListen() string { return p.chaincode }

// Connection is how the organisation's peer reaches the service: what its package says.
func (s *Service) Connection() (Connection, error) {
	raw, err := os.ReadFile(filepath.Join(s.org.dir, "contracts", s.Contract+"-"+s.Version, s.Org+".tar.gz"))
	if err != nil {
		return Connection{}, err
	}
	code, err := unpack(raw, "code.tar.gz")
	if err != nil {
		return Connection{}, err
	}
	connection, err := unpack(code, "connection.json")
	if err != nil {
		return Connection{}, err
	}
	return ParseConnection(connection)
}

// unpack reads a file of an archive.
func unpack(raw []byte, name string) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	t := tar.NewReader(io.LimitReader(z, 4*maxPackageFile))
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("the package holds no %s", name)
		}
		if err != nil {
			return nil, err
		}
		if h.Name == name {
			return io.ReadAll(io.LimitReader(t, maxPackageFile))
		}
	}
}
