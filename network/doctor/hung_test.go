package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// standIn is an orderer that serves what the doctor and Cure look at and nothing else. At its first starts it hangs as one
// of Fabric 2.5.0 does: it answers everything, says that it is well, and stands still.
type standIn struct {
	Admin, Operations string // host:port
	Cert, Key         string // files
	Leads             bool
	Hangs             int // how many of its starts
	Tick              time.Duration
}

// starts counts the starts of a stand-in, a byte each, in its folder.
const starts = "starts"

func (s standIn) serve(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, starts), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write([]byte{'+'}); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	hangs, began := st.Size() <= int64(s.Hangs), time.Now()
	operations := http.NewServeMux()
	operations.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"OK"}`) })
	operations.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		beats, leads := 3, 0
		if !hangs {
			beats += int(time.Since(began) / s.Tick)
		}
		if s.Leads {
			leads = 1
		}
		fmt.Fprintf(w, "consensus_etcdraft_is_leader{channel=%q} %d\nconsensus_etcdraft_data_persist_duration_count{channel=%[1]q} %[3]d\n", fabric.Channel, leads, beats)
	})
	participation := http.NewServeMux()
	participation.HandleFunc("/participation/v1/channels/"+fabric.Channel, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"active","consensusRelation":"consenter","height":40}`)
	})
	ended := make(chan error, 3)
	go func() { ended <- http.ListenAndServe(s.Operations, operations) }()
	go func() {
		admin := http.Server{Addr: s.Admin, Handler: participation, TLSConfig: &tls.Config{ClientAuth: tls.RequireAnyClientCert}}
		ended <- admin.ListenAndServeTLS(s.Cert, s.Key)
	}()
	go func() { ended <- orphaned() }()
	return <-ended
}

// orphaned returns when the program that started this one is gone: whatever becomes of a test, its stand-ins end.
func orphaned() error {
	for parent := os.Getppid(); os.Getppid() == parent; {
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

// serveStandIn is what the test program does in an orderer's place.
func serveStandIn() error {
	dir := os.Getenv("FABRIC_CFG_PATH")
	raw, err := os.ReadFile(filepath.Join(dir, "stand-in.json"))
	if err != nil {
		return err
	}
	var s standIn
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	return s.serve(dir)
}

// tick is the Raft clock of stand-ins.
const tick = 50 * time.Millisecond

// folder makes the folder of a network of stand-ins: the test program is its orderers and its nodes.
func folder(t *testing.T) string {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"orderer", "node"} {
		write(t, filepath.Join(bin, name), []byte("#!/bin/sh\nexec '"+exe+"' "+name+" \"$@\"\n"), 0o700)
	}
	state, err := json.Marshal(map[string]any{"format": 1, "fabric": "2.5.0", "ports": map[string]int{}, "contracts": nil, "spec": fabric.Spec{
		Dir: dir, Bin: bin, Program: filepath.Join(bin, "node"), Orgs: 3, Consensus: fabric.Raft, Policy: 2, Version: "1", Tick: tick, Bind: "127.0.0.1",
		Batch: fabric.Batch{Timeout: time.Second, Messages: 10, Preferred: 1 << 20, Absolute: 1 << 20},
	}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "network.json"), state, 0o600)
	for _, d := range []string{"logs", "run", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// standIns makes and starts a network of nothing but three orderers' stand-ins, of which orderer-2 hangs at its first starts.
func standIns(t *testing.T, hangs int) *fabric.Network {
	t.Helper()
	dir := folder(t)
	n, err := fabric.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := selfSigned(t)
	for _, o := range n.Orgs() {
		write(t, o.TLSRoots(), cert, 0o600)
		write(t, o.AdminTLS().Cert, cert, 0o600)
		write(t, o.AdminTLS().Key, key, 0o600)
	}
	for i, o := range n.Orderers() {
		s := standIn{Admin: o.Admin, Operations: o.Operations, Cert: n.Orgs()[i].AdminTLS().Cert, Key: n.Orgs()[i].AdminTLS().Key, Leads: i == 0, Tick: tick}
		if i == 1 {
			s.Hangs = hangs
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "orderers", o.Name, "stand-in.json"), raw, 0o600)
		t.Cleanup(func() { _ = o.Kill() })
		if err := o.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			_, err := o.Membership(t.Context())
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				log, _ := os.ReadFile(o.Log())
				t.Fatalf("%v\n%s", err, log)
			}
		}
	}
	return n
}

func write(t *testing.T, path string, raw []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, mode); err != nil {
		t.Fatal(err)
	}
}

// selfSigned is a certificate of 127.0.0.1 that is its own authority, and its key.
func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// started says how often each of the three was.
func started(t *testing.T, n *fabric.Network) (out [3]int) {
	t.Helper()
	for i, o := range n.Orderers() {
		raw, err := os.ReadFile(filepath.Join(n.Spec().Dir, "orderers", o.Name, starts))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = len(raw)
	}
	return out
}

// TestHungOrderer: the doctor finds an orderer that hangs, and only that; Cure restarts it, as often as it hangs, and leaves
// the others alone.
func TestHungOrderer(t *testing.T) {
	const hangs = 2
	n := standIns(t, hangs)
	o := Options{Between: 300 * time.Millisecond, MinFree: 1}
	report := Examine(t.Context(), n, o)
	if !slices.Equal(report.Codes(), []Code{OrdererHung, PeerDown}) { // there are no peers
		t.Fatalf("%+v", report.Findings)
	}
	if f := report.Findings[0]; f.Subject != "orderer-2" || !strings.Contains(f.Cure.Command, "zl-network restart --dir") || !strings.Contains(f.Cure.Command, "orderer-2") ||
		!strings.Contains(f.Evidence[1], "/healthz: OK; participation: active") || report.Findings[1].Code != PeerDown {
		t.Errorf("%+v", f)
	}
	cured, err := n.Cure(t.Context())
	if err != nil || len(cured) != 1 || cured[0].Name != "orderer-2" {
		t.Fatalf("cured %v, %v", cured, err)
	}
	if got := started(t, n); got != [3]int{1, 1 + hangs, 1} {
		t.Errorf("started %v times, want orderer-2 once more each time that it hung, and the others once", got)
	}
	if report := Examine(t.Context(), n, o); !slices.Equal(report.Codes(), []Code{PeerDown}) {
		t.Errorf("after the cure: %+v", report.Findings)
	}
	if cured, err := n.Cure(t.Context()); err != nil || len(cured) != 0 {
		t.Errorf("a second cure of healthy orderers: %v, %v", cured, err)
	}
}

// TestHungForGood: where every restart hangs, Cure comes to an end and says what helps.
func TestHungForGood(t *testing.T) {
	n := standIns(t, 1000)
	cured, err := n.Cure(t.Context())
	if err == nil || !strings.Contains(err.Error(), "orderer-2 hang after 8 restarts: run Fabric 2.5.3 or newer") || len(cured) != 1 {
		t.Fatalf("cured %v, %v", cured, err)
	}
	if got := started(t, n); got != [3]int{1, 9, 1} {
		t.Errorf("started %v times", got)
	}
}
