package fabric

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Service is a contract of one version running at one organisation.
type Service struct {
	*Process
	Contract  string
	Version   string
	Address   string // host:port that the peer dials
	Admin     string // host:port of /healthz, /readyz and /metrics; of a plain program nobody listens there
	PackageID string
	Ended     bool // a later version took its place

	org   Org
	plain bool
}

func serviceName(contract, version, org string) string {
	return contract + "-" + version + "-" + org
}

// addServices makes a deployment's services known. The caller holds mu, or is the only one yet.
func (n *Network) addServices(d Deployment) error {
	for _, o := range n.orgs {
		name := serviceName(d.Name, d.Version, o.ID)
		if s, ok := n.services[name]; ok {
			s.PackageID, s.Ended = d.Packages[o.ID], d.Ended
			continue
		}
		for _, suffix := range []string{"", "-admin"} {
			if _, err := n.state.port(name + suffix); err != nil {
				return err
			}
		}
		s := &Service{
			Process: n.process(n.state.Spec.Dir, name, KindChaincode, o.ID), Contract: d.Name, Version: d.Version,
			Address: n.state.address(name), Admin: n.state.address(name + "-admin"),
			PackageID: d.Packages[o.ID], Ended: d.Ended, org: o, plain: d.Plain,
		}
		s.program = d.Binary
		if d.Plain {
			tls := o.issued("chaincode-tls", "")
			s.env = append(s.env,
				"CHAINCODE_SERVER_ADDRESS="+s.Address, "CORE_CHAINCODE_ID_NAME="+s.PackageID, "CHAINCODE_ID="+s.PackageID,
				"CHAINCODE_TLS_DISABLED=false", "CHAINCODE_TLS_CERT="+tls.Cert, "CHAINCODE_TLS_KEY="+tls.Key, "CHAINCODE_CLIENT_CA_CERT="+o.TLSRoots())
		} else {
			s.args = []string{"--config", filepath.Join(n.state.Spec.Dir, "contracts", d.Name+"-"+d.Version, o.ID+".yaml")}
		}
		n.services[name] = s
	}
	return nil
}

// prepare copies a contract's program into the network, so that a restart runs what was deployed whatever is built
// meanwhile, chooses its ports, makes its packages and writes its services' configuration. With a deployment of that
// version there already, it changes nothing.
func (n *Network) prepare(d Deployment) error {
	spec := n.Spec()
	dir := n.path("contracts", d.Name+"-"+d.Version)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	source := d.Binary
	d.Binary = filepath.Join(dir, filepath.Base(source))
	digest, err := copyProgram(source, d.Binary)
	if err != nil {
		return err
	}
	d.Digest = digest
	d.Packages = map[string]string{}
	for _, o := range n.orgs {
		var address string
		if err := n.update(func(s *state) error {
			name := serviceName(d.Name, d.Version, o.ID)
			_, err := s.port(name)
			address = s.address(name)
			return err
		}); err != nil {
			return err
		}
		c, err := n.connection(o, address)
		if err != nil {
			return err
		}
		raw, id, err := makePackage(Metadata{Type: packageType, Label: d.Name + "_" + d.Version}, c)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, o.ID+".tar.gz"), raw, 0o600); err != nil {
			return err
		}
		d.Packages[o.ID] = id
	}
	if d.Settings["genesis_digest"] == "" && spec.GenesisDigest != "" {
		d.Settings["genesis_digest"] = spec.GenesisDigest
	}
	// Commit point: from here on the deployment is part of the network, and `up` brings it to its end.
	return n.update(func(s *state) error {
		s.Contracts = slices.DeleteFunc(s.Contracts, func(c Deployment) bool { return c.Name == d.Name && c.Version == d.Version })
		s.Contracts = append(s.Contracts, d)
		return n.addServices(d)
	})
}

// connection is how an organisation's peer reaches its service: TLS with client authentication.
func (n *Network) connection(o Org, address string) (Connection, error) {
	c := Connection{Address: address, DialTimeout: "3s", TLSRequired: true, ClientAuthRequired: true}
	client := o.issued("chaincode-client", "")
	for path, to := range map[string]*string{client.Cert: &c.ClientCert, client.Key: &c.ClientKey, o.TLSRoots(): &c.RootCert} {
		raw, err := os.ReadFile(path)
		if err != nil {
			return c, err
		}
		*to = string(raw)
	}
	return c, nil
}

func copyProgram(from, to string) (digest string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	_ = os.Remove(to) // a program that runs keeps its file; the new one is another
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, out.Close())
}

// startServices runs a deployment's services and waits until they take calls.
func (n *Network) startServices(ctx context.Context, d Deployment) error {
	var services []*Service
	for _, s := range n.Services() {
		if s.Contract == d.Name && s.Version == d.Version {
			services = append(services, s)
		}
	}
	return together(services, func(s *Service) error {
		if !s.plain {
			tls := s.org.issued("chaincode-tls", "")
			settings := []string{}
			for k, v := range d.Settings {
				if v != "" {
					settings = append(settings, k+": "+quoted(v))
				}
			}
			slices.Sort(settings)
			if err := render(s.args[1], "chaincode.yaml.tmpl", struct {
				ID, Listen, Admin, TLSCert, TLSKey, ClientRoots, Settings string
			}{s.PackageID, s.Address, s.Admin, tls.Cert, tls.Key, s.org.TLSRoots(), strings.Join(settings, "\n")}); err != nil {
				return err
			}
		}
		if err := s.Start(); err != nil {
			return err
		}
		return s.waitFor(ctx, "does not take calls", func() error { return s.ready(ctx) })
	})
}

func (s *Service) ready(ctx context.Context) error {
	if !s.plain {
		_, err := operations(ctx, s.Admin, "/readyz")
		return err
	}
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return err
	}
	return c.Close()
}

// endServices stops the services of a deployment for good.
func (n *Network) endServices(ctx context.Context, d Deployment) error {
	if err := n.update(func(s *state) error {
		for i := range s.Contracts {
			if c := &s.Contracts[i]; c.Name == d.Name && c.Version == d.Version {
				c.Ended = true
				return n.addServices(*c)
			}
		}
		return fmt.Errorf("%s %s is not deployed", d.Name, d.Version)
	}); err != nil {
		return err
	}
	var old []*Service
	for _, s := range n.Services() {
		if s.Contract == d.Name && s.Version == d.Version {
			old = append(old, s)
		}
	}
	return together(old, func(s *Service) error { return s.Stop(ctx, stopping+5*time.Second) })
}

func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
