package deploy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// An authority issues what the secrets of an organisation hold.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.pem, _, a.cert, a.key = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "ca.test", Organization: []string{"test"}}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}, nil)
	return a
}

func (a *authority) issue(c *x509.Certificate, parent *authority) (certPEM, keyPEM string, cert *x509.Certificate, key *ecdsa.PrivateKey) {
	a.t.Helper()
	fail := func(err error) {
		if err != nil {
			a.t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err)
	c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	fail(err)
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by, byKey := c, key
	if parent != nil {
		by, byKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), byKey)
	fail(err)
	cert, err = x509.ParseCertificate(der)
	fail(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	fail(err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), cert, key
}

// identity and server are the two uses of a certificate.
func (a *authority) identity(name, unit string) (cert, key string) {
	cert, key, _, _ = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{unit}}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, a)
	return cert, key
}

func (a *authority) server(names ...string) (cert, key string) {
	cert, key, _, _ = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a)
	return cert, key
}

// nodeOUs is an MSP's config.yaml.
const nodeOUs = `NodeOUs:
  Enable: true
  ClientOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: client}
  PeerOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: peer}
  AdminOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: admin}
  OrdererOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: orderer}
`

// secrets are an organisation's, as docs/guide/deploy.en.md lists them: by name and key.
func secrets(t *testing.T, node string, gateways []string) map[string]map[string]string {
	a := newAuthority(t)
	out := map[string]map[string]string{}
	tls := func(name string, hosts ...string) {
		cert, key := a.server(hosts...)
		out[name] = map[string]string{"tls.crt": cert, "tls.key": key, "ca.crt": a.pem}
	}
	msp := func(name, unit string) {
		cert, key := a.identity(name, unit)
		out[name+"-msp"] = map[string]string{"config.yaml": nodeOUs, "cacert.pem": a.pem, "tlscacert.pem": a.pem, "signcert.pem": cert, "key.pem": key}
		tls(name+"-tls", name, "localhost")
	}
	msp("peer0", "peer")
	msp("peer1", "peer")
	msp("orderer", "orderer")
	tls("zl-chaincode-tls", "zl-chaincode", "zl-chaincode-next")
	tls("zhenglian-tls", "zhenglian")
	cert, key := a.identity(node, "client")
	out["zhenglian-identity"] = map[string]string{"tls.crt": cert, "tls.key": key}
	out["zhenglian-gateways"] = map[string]string{}
	for _, g := range gateways {
		out["zhenglian-gateways"][g] = a.pem
	}
	return out
}

// layOut writes under root the files that a pod's container sees, with root before each path that stands in a
// configuration. It fails on a secret's key that is not documented, and where a documented key is never used.
func layOut(t *testing.T, root string, m *manifest, pod corev1.PodSpec, all map[string]map[string]string) {
	t.Helper()
	for _, mount := range pod.Containers[0].VolumeMounts {
		at := filepath.Join(root, mount.MountPath)
		volume := volumeOf(pod, mount.Name)
		switch {
		case volume == nil || volume.EmptyDir != nil || volume.PersistentVolumeClaim != nil:
			if err := os.MkdirAll(at, 0o700); err != nil {
				t.Fatal(err)
			}
		case volume.ConfigMap != nil:
			for name, body := range m.configs[volume.ConfigMap.Name].Data {
				if mount.SubPath == "" {
					write(t, filepath.Join(at, name), rooted(root, body))
				} else if mount.SubPath == name {
					write(t, at, rooted(root, body))
				}
			}
		case volume.Secret != nil:
			unused := maps.Clone(all[volume.Secret.SecretName])
			for _, item := range volume.Secret.Items {
				body, ok := all[volume.Secret.SecretName][item.Key]
				if !ok {
					t.Fatalf("secret %s has no %s", volume.Secret.SecretName, item.Key)
				}
				delete(unused, item.Key)
				write(t, filepath.Join(at, item.Path), body)
			}
			for key, body := range unused {
				if len(volume.Secret.Items) == 0 {
					write(t, filepath.Join(at, key), body)
				} else if key != "ca.crt" { // every TLS secret has one; not every program needs it
					t.Errorf("%s of secret %s is used by nothing", key, volume.Secret.SecretName)
				}
			}
		}
	}
}

func volumeOf(pod corev1.PodSpec, name string) *corev1.Volume {
	for i := range pod.Volumes {
		if pod.Volumes[i].Name == name {
			return &pod.Volumes[i]
		}
	}
	return nil
}

// rooted puts root before the absolute paths of a configuration.
func rooted(root, body string) string {
	for _, p := range []string{"/etc/zhenglian/", "/run/zhenglian/", "/var/hyperledger/", "/var/lib/zhenglian", "/opt/hyperledger/", "/etc/hyperledger/"} {
		body = strings.ReplaceAll(body, p, root+p)
	}
	return body
}

func write(t *testing.T, path, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

// environment resolves a container's environment as Kubernetes does.
func environment(m *manifest, pod corev1.PodTemplateSpec) map[string]string {
	out := map[string]string{}
	for _, e := range pod.Spec.Containers[0].Env {
		v := e.Value
		if from := e.ValueFrom; from != nil && from.ConfigMapKeyRef != nil {
			v = m.configs[from.ConfigMapKeyRef.Name].Data[from.ConfigMapKeyRef.Key]
		} else if from != nil && from.FieldRef != nil {
			label := strings.TrimSuffix(strings.TrimPrefix(from.FieldRef.FieldPath, "metadata.labels['"), "']")
			v = pod.Labels[label]
		}
		for name, value := range out { // only what stands before is expanded
			v = strings.ReplaceAll(v, "$("+name+")", value)
		}
		out[e.Name] = v
	}
	return out
}

// handOver gives the files under root to a pod's user and group as Kubernetes does: claims and temporary folders
// are theirs, secrets and configuration they can only read. It returns whom the program runs as, nil where the
// tests may not choose.
func handOver(t *testing.T, root string, pod corev1.PodSpec) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	c := pod.SecurityContext
	user, group := int(*c.RunAsUser), int(*c.FSGroup)
	for at := root; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own := map[string]bool{}
	for _, mount := range pod.Containers[0].VolumeMounts {
		if v := volumeOf(pod, mount.Name); v == nil || v.EmptyDir != nil {
			own[filepath.Join(root, mount.MountPath)] = true
		}
	}
	var walk func(path string, theirs bool)
	walk = func(path string, theirs bool) {
		theirs = theirs || own[path]
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		owner, mode := 0, os.FileMode(0o440)
		switch {
		case theirs:
			owner, mode = user, info.Mode().Perm()
		case info.IsDir():
			mode = 0o755
		}
		if err := os.Chown(path, owner, group); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if !info.IsDir() {
			return
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			walk(filepath.Join(path, e.Name()), theirs)
		}
	}
	walk(root, false)
	return &syscall.Credential{Uid: uint32(user), Gid: uint32(*c.RunAsGroup), Groups: []uint32{uint32(group)}}
}
