package chanconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

const (
	maxFile  = 1 << 20 // bytes of a file of a membership definition
	maxFiles = 64      // of one kind
)

// nodeOUs is a membership folder's config.yaml: by which organisational unit roles are told apart.
type nodeOUs struct {
	NodeOUs struct {
		Enable              bool  `yaml:"Enable"`
		ClientOUIdentifier  *unit `yaml:"ClientOUIdentifier"`
		PeerOUIdentifier    *unit `yaml:"PeerOUIdentifier"`
		AdminOUIdentifier   *unit `yaml:"AdminOUIdentifier"`
		OrdererOUIdentifier *unit `yaml:"OrdererOUIdentifier"`
	} `yaml:"NodeOUs"`
}

type unit struct {
	Certificate                  string `yaml:"Certificate"`
	OrganizationalUnitIdentifier string `yaml:"OrganizationalUnitIdentifier"`
}

// ReadMSP reads an organisation's membership definition from a folder as Fabric's tools lay it out: cacerts,
// intermediatecerts, tlscacerts, tlsintermediatecerts, crls, admincerts and config.yaml. Keys are neither needed nor
// read.
func ReadMSP(id, dir string) (*msp.MSPConfig, error) {
	if id == "" || strings.ContainsAny(id, " /\\") {
		return nil, fmt.Errorf("%q is no name of a membership", id)
	}
	f := &msp.FabricMSPConfig{Name: id, CryptoConfig: &msp.FabricCryptoConfig{SignatureHashFamily: "SHA2", IdentityIdentifierHashFunction: "SHA256"}}
	for folder, to := range map[string]*[][]byte{
		"cacerts": &f.RootCerts, "intermediatecerts": &f.IntermediateCerts, "tlscacerts": &f.TlsRootCerts,
		"tlsintermediatecerts": &f.TlsIntermediateCerts, "admincerts": &f.Admins, "crls": &f.RevocationList,
	} {
		all, err := readFolder(filepath.Join(dir, folder))
		if err != nil {
			return nil, err
		}
		for _, raw := range all {
			if folder != "crls" {
				if err := onlyCerts(raw); err != nil {
					return nil, fmt.Errorf("%s: %w", filepath.Join(dir, folder), err)
				}
			}
		}
		*to = all
	}
	if len(f.RootCerts) == 0 || len(f.TlsRootCerts) == 0 {
		return nil, fmt.Errorf("%s: cacerts and tlscacerts must hold the organisation's authorities", dir)
	}
	if err := readUnits(dir, f); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "config.yaml"), err)
	}
	raw, err := proto.Marshal(f)
	return &msp.MSPConfig{Config: raw}, err
}

// readUnits reads config.yaml. Without it there are no roles, and no policy of a Zhenglian channel could be met.
func readUnits(dir string, f *msp.FabricMSPConfig) error {
	raw, err := readFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		return err
	}
	var c nodeOUs
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		return err
	}
	n := c.NodeOUs
	if !n.Enable || n.ClientOUIdentifier == nil || n.PeerOUIdentifier == nil || n.AdminOUIdentifier == nil || n.OrdererOUIdentifier == nil {
		return errors.New("NodeOUs must be enabled and name the units of clients, peers, administrators and orderers")
	}
	f.FabricNodeOus = &msp.FabricNodeOUs{Enable: true}
	for u, to := range map[*unit]**msp.FabricOUIdentifier{
		n.ClientOUIdentifier: &f.FabricNodeOus.ClientOuIdentifier, n.PeerOUIdentifier: &f.FabricNodeOus.PeerOuIdentifier,
		n.AdminOUIdentifier: &f.FabricNodeOus.AdminOuIdentifier, n.OrdererOUIdentifier: &f.FabricNodeOus.OrdererOuIdentifier,
	} {
		id := &msp.FabricOUIdentifier{OrganizationalUnitIdentifier: u.OrganizationalUnitIdentifier}
		if u.OrganizationalUnitIdentifier == "" {
			return errors.New("a unit without OrganizationalUnitIdentifier")
		}
		if u.Certificate != "" {
			if !filepath.IsLocal(u.Certificate) {
				return fmt.Errorf("%s is outside the folder", u.Certificate)
			}
			if id.Certificate, err = readFile(filepath.Join(dir, u.Certificate)); err != nil {
				return err
			}
		}
		*to = id
	}
	return nil
}

func readFolder(dir string) ([][]byte, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(entries) > maxFiles {
		return nil, fmt.Errorf("%s holds more than %d files", dir, maxFiles)
	}
	var out [][]byte
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		raw, err := readFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		out = append(out, raw)
	}
	return out, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return raw, err
}
