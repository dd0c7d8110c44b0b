package fabric

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Renewable are the certificates of one program or person, which are renewed together.
type Renewable struct {
	Name    string   // peer-beijing, orderer-1, node-beijing, chaincode-beijing, admin-beijing
	Program string   // process that uses them, "" for an administrator's
	Files   []string // certificates: where they are made and where they are used
	Restart bool     // the program reads them at its start only
}

// Renewable lists whose certificates Renew renews: all but the authorities' own.
func (n *Network) Renewable() []Renewable {
	var out []Renewable
	for _, o := range n.orderers {
		out = append(out, Renewable{Name: o.Name, Program: o.Name, Restart: true, Files: []string{
			o.identity().Cert, filepath.Join(o.mspDir(), "signcerts", "cert.pem"), o.tls().Cert,
		}})
	}
	for _, p := range n.peers {
		home := filepath.Join(p.org.Dir(), "peers", p.org.host("peer"))
		out = append(out, Renewable{Name: p.Name, Program: p.Name, Restart: true, Files: []string{
			filepath.Join(home, "msp", "signcerts", p.org.host("peer")+"-cert.pem"), filepath.Join(home, "tls", "server.crt"),
		}})
	}
	for _, o := range n.orgs {
		chaincode := Renewable{Name: "chaincode-" + o.ID, Files: []string{o.issued("chaincode-tls", "").Cert, o.issued("chaincode-client", "").Cert}}
		if s := n.Service(Contract, o.ID); s != nil {
			chaincode.Program = s.Name
		}
		home := filepath.Dir(filepath.Dir(filepath.Dir(o.Admin().Cert)))
		out = append(out, chaincode, Renewable{Name: "admin-" + o.ID, Files: []string{
			o.Admin().Cert, filepath.Join(home, "tls", "client.crt"), o.AdminTLS().Cert,
		}})
	}
	for _, node := range n.Nodes() {
		for _, o := range n.orgs {
			if o.ID == node.Org {
				out = append(out, Renewable{Name: node.Name, Program: node.Name, Files: []string{o.Node().Cert, filepath.Join(node.Dir, "identity.crt")}})
			}
		}
	}
	return out
}

// Renew issues a name's certificates anew, for the same keys and names, until the given moment (zero: as long as new
// ones last). An orderer keeps its place in the channel that way, since the others know it by its key. Files are
// replaced one by one, each whole; a program that reads them at its start has to be restarted.
func (n *Network) Renew(name string, until time.Time) (Renewable, error) {
	all := n.Renewable()
	i := slices.IndexFunc(all, func(r Renewable) bool { return r.Name == name })
	if i < 0 {
		var names []string
		for _, r := range all {
			names = append(names, r.Name)
		}
		return Renewable{}, fmt.Errorf("%q has no certificates here; there are %q", name, names)
	}
	var authorities []*authority
	for _, o := range n.orgs {
		for _, dir := range []string{"ca", "tlsca"} {
			a, err := loadAuthority(filepath.Join(o.Dir(), dir))
			if err != nil {
				return Renewable{}, err
			}
			authorities = append(authorities, a)
		}
	}
	made := map[string][]byte{} // by what they replace: copies stay copies
	for _, path := range all[i].Files {
		old, err := readCert(path)
		if err != nil {
			return Renewable{}, err
		}
		// Copies may have been renewed at different times; the key is what they share.
		id := string(old.RawSubjectPublicKeyInfo) + string(old.RawIssuer)
		if made[id] == nil {
			at := slices.IndexFunc(authorities, func(a *authority) bool { return bytes.Equal(a.cert.RawSubject, old.RawIssuer) })
			if at < 0 {
				return Renewable{}, fmt.Errorf("%s was issued by %q, whose key is not here", path, old.Issuer)
			}
			if made[id], err = authorities[at].reissue(old, until); err != nil {
				return Renewable{}, err
			}
		}
		mode := os.FileMode(0o644)
		if st, err := os.Stat(path); err == nil {
			mode = st.Mode().Perm()
		}
		if err := writeFile(path, made[id], mode); err != nil {
			return Renewable{}, err
		}
	}
	return all[i], nil
}

// reissue makes a certificate like an old one with other dates.
func (a *authority) reissue(old *x509.Certificate, until time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	if until.IsZero() {
		until = now.AddDate(issuedYears, 0, 0)
	}
	t := &x509.Certificate{
		SerialNumber: serial, RawSubject: old.RawSubject, SubjectKeyId: old.SubjectKeyId,
		NotBefore: now.Add(-5 * time.Minute), NotAfter: until.UTC(),
		KeyUsage: old.KeyUsage, ExtKeyUsage: old.ExtKeyUsage, UnknownExtKeyUsage: old.UnknownExtKeyUsage, BasicConstraintsValid: true,
		DNSNames: old.DNSNames, IPAddresses: old.IPAddresses,
	}
	if t.NotBefore.Before(a.cert.NotBefore) {
		t.NotBefore = a.cert.NotBefore
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	if !t.NotAfter.After(t.NotBefore) {
		return nil, errors.New("the certificate would end before it begins")
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, old.PublicKey, a.key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}
