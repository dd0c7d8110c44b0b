package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk"
)

// node is one node: its folder, its process while it runs, and how to call it.
type node struct {
	t          testing.TB
	owner      testing.TB // its process lives as long; t may be a part of it
	name       string
	agency     string // its first API keys belong to
	dir        string
	url, admin string
	keys       map[string]string // by role
	pristine   string            // its folder as it was founded
	client     *http.Client
	p          *process
}

// ledger is a ledger's own process.
type ledger struct {
	t       testing.TB
	dir     string // the databases
	service string // the folder of ledger.yaml
	address string
	p       *process
}

func newNode(t testing.TB, name, agency, dir, listen, admin string, keys map[string]string) *node {
	n := &node{t: t, owner: t, name: name, agency: agency, dir: dir, url: "http://" + listen, admin: "http://" + admin, keys: keys}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	n.client = &http.Client{Transport: transport, Timeout: 40 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return n
}

// solo founds a node with its ledger in its own process.
func solo(t testing.TB, dir string) *node {
	t.Helper()
	listen, admin := free(t), free(t)
	uscc, err := model.InventUSCC("11110000X", 1001)
	if err != nil {
		t.Fatal(err)
	}
	status, out, errOut := command(t, "init", "--dir", dir, "--json", "--msp", "BeijingMSP", "--node", "beijing", "--agency", "bj-scjg",
		"--name-zh", "北京市市场监督管理局", "--name-en", "Beijing AMR", "--region", "110000", "--uscc", string(uscc), "--listen", listen, "--admin", admin)
	var made struct {
		Dir  string            `json:"dir"`
		Keys map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(out, &made); status != 0 || err != nil {
		t.Fatalf("init: status %d, %v\n%s%s", status, err, out, errOut)
	}
	return newNode(t, "beijing", "bj-scjg", made.Dir, listen, admin, made.Keys)
}

func (n *node) ledgerDir() string { return filepath.Join(n.dir, "..", "..", "ledger") }

// consortium is four nodes on one ledger.
type consortium struct {
	t      testing.TB
	dir    string
	ledger *ledger         // the embedded ledger's process; nil on Fabric
	fabric *fabric.Network // nil on the embedded ledger
	nodes  map[string]*node
	began  uint64 // position of the log at which this test began: on Fabric others came before it
}

var memberNames = []string{"beijing", "tianjin", "hebei", "customs"}

var homes = map[string]string{"beijing": "bj-scjg", "tianjin": "tj-scjg", "hebei": "he-scjg", "customs": "bj-customs"}

func newConsortium(t testing.TB) *consortium {
	t.Helper()
	from, err := founded()
	if err != nil {
		t.Fatal(err)
	}
	c := &consortium{t: t, dir: t.TempDir(), nodes: map[string]*node{}}
	copyTree(t, from, c.dir)
	var d description
	if err := json.Unmarshal(mustRead(t, filepath.Join(c.dir, "demo.json")), &d); err != nil {
		t.Fatal(err)
	}
	c.ledger = &ledger{t: t, dir: filepath.Join(c.dir, "ledger"), service: filepath.Join(c.dir, "ledger-service"), address: free(t)}
	edit(t, filepath.Join(c.ledger.service, "ledger.yaml"), func(m map[string]any) { m["listen"] = c.ledger.address })
	for _, described := range d.Nodes {
		n := newNode(t, described.Name, homes[described.Name], filepath.Join(c.dir, "nodes", described.Name), free(t), free(t), described.Keys)
		n.pristine = filepath.Join(from, "nodes", described.Name)
		n.configure(func(m map[string]any) {
			m["listen"], m["admin"] = n.url[len("http://"):], n.admin[len("http://"):]
			dial(m, c.ledger.address)
		})
		c.nodes[n.name] = n
	}
	return c
}

// copyTree copies a folder of stopped processes, with the files' rights: keys are their owner's alone.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), info.Mode().Perm())
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), raw, info.Mode().Perm())
	}); err != nil {
		t.Fatal(err)
	}
}

// start starts the ledger and some of the nodes, and waits until they are ready.
func (c *consortium) start(names ...string) {
	c.t.Helper()
	if c.ledger != nil {
		c.ledger.start()
	}
	for _, name := range names {
		if n := c.nodes[name]; n.p == nil || n.p.ended() {
			n.launch()
		}
	}
	for _, name := range names {
		c.nodes[name].ready()
	}
}

func edit(t testing.TB, path string, change func(map[string]any)) {
	t.Helper()
	m := map[string]any{}
	if err := yaml.Unmarshal(mustRead(t, path), &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	raw, err := yaml.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// dial sets where the first gateway of a node's configuration is.
func dial(config map[string]any, address string) {
	config["ledger"].(map[string]any)["gateways"].([]any)[0].(map[string]any)["address"] = address
}

func (n *node) configure(change func(map[string]any)) {
	n.t.Helper()
	edit(n.t, filepath.Join(n.dir, "zhenglian.yaml"), change)
}

func (l *ledger) start() {
	l.t.Helper()
	l.p = start(l.t, "ledger", "serve", "--dir", l.service)
	eventually(l.t, 20*time.Second, "the ledger listens", func() bool {
		if l.p.ended() {
			l.t.Fatalf("the ledger ended:\n%s", l.p.out.tail(4000))
		}
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", l.address, &tls.Config{InsecureSkipVerify: true}) // only whether it is there
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// launch starts the node's process; ready waits for it.
func (n *node) launch() { n.t.Helper(); n.p = startFor(n.t, n.owner, "serve", "--dir", n.dir) }

func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.ready()
}

func (n *node) ready() {
	n.t.Helper()
	var r sdk.Readiness
	var err error
	defer func() {
		if n.t.Failed() {
			n.t.Logf("%s says of itself: %+v %v", n.name, r, err)
		}
	}()
	eventually(n.t, 60*time.Second, n.name+" is ready", func() bool {
		if n.p.ended() {
			n.t.Fatalf("%s ended:\n%s", n.name, n.p.out.tail(4000))
		}
		r, err = n.readiness()
		return err == nil && r.Status == sdk.OK
	})
}

// readiness is what the admin listener says.
func (n *node) readiness() (r sdk.Readiness, err error) {
	a, err := n.get(n.admin + "/readyz")
	if err == nil {
		err = json.Unmarshal(a.body, &r)
	}
	return r, err
}

// answer is one HTTP answer, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem is the body of a refused request.
func (a answer) problem() (p model.Problem) {
	_ = json.Unmarshal(a.body, &p) // the zero value says enough
	return p
}

// metric reads one of the node's metrics, added up over its labels; −1 while it cannot be read.
func (n *node) metric(name string) (sum float64) {
	a, err := n.get(n.admin + "/metrics")
	if err != nil || a.status != http.StatusOK {
		return -1
	}
	for line := range strings.Lines(string(a.body)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		f := strings.Fields(line)
		v, err := strconv.ParseFloat(f[len(f)-1], 64)
		if err != nil {
			n.t.Fatal(err)
		}
		sum += v
	}
	return sum
}

func (n *node) get(url string) (answer, error) {
	return n.send(context.Background(), http.MethodGet, url, "", nil)
}

// send makes one request. key is an API key, headers are pairs.
func (n *node) send(ctx context.Context, method, url, key string, body []byte, headers ...string) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	r, err := n.client.Do(req)
	if err != nil {
		return a, err
	}
	body, err = io.ReadAll(r.Body)
	return answer{r.StatusCode, r.Header, body}, errors.Join(err, r.Body.Close())
}

// post sends a body as the approver.
func (n *node) post(path string, body []byte, headers ...string) (answer, error) {
	return n.send(context.Background(), http.MethodPost, n.url+path, n.keys["approver"], body, headers...)
}

// mustPost expects 200 and decodes the answer into v.
func (n *node) mustPost(path string, body, v any) {
	n.t.Helper()
	raw, ok := body.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			n.t.Fatal(err)
		}
	}
	a, err := n.post(path, raw)
	n.decode(a, err, v)
}

// mustGet reads as the auditor, expects 200 and decodes the answer into v.
func (n *node) mustGet(path string, v any) {
	n.t.Helper()
	a, err := n.send(context.Background(), http.MethodGet, n.url+path, n.keys["auditor"], nil)
	n.decode(a, err, v)
}

func (n *node) decode(a answer, err error, v any) {
	n.t.Helper()
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("status %d: %.400s", a.status, a.body)
	}
	if err == nil && v != nil {
		err = json.Unmarshal(a.body, v)
	}
	if err != nil {
		n.t.Fatalf("%s: %v", n.name, err)
	}
}

// at is what the node's answers reflect.
func (n *node) at() sdk.Reflects {
	n.t.Helper()
	var page sdk.RecordPage
	n.mustGet("/v1/registry/organisations?limit=1", &page)
	return page.At
}

// fsck expects a ledger's folder to be sound.
func fsck(t testing.TB, dir string) {
	t.Helper()
	status, out, errOut := command(t, "ledger", "fsck", "--dir", dir, "--json")
	if status != 0 {
		t.Fatalf("fsck: status %d\n%s%s", status, out, errOut)
	}
}

type reindexed struct {
	Height, Position uint64
	Before, After    string
}

// reindex rebuilds a stopped node's records and expects the digests to agree. It is called after a clean
// stop: after a kill the records may have lost blocks that the archive holds.
func (n *node) reindex() reindexed {
	n.t.Helper()
	status, out, errOut := command(n.t, "reindex", "--dir", n.dir, "--json")
	var r reindexed
	if err := json.Unmarshal(out, &r); status != 0 || err != nil {
		n.t.Fatalf("%s: reindex: status %d, %v\n%s%s", n.name, status, err, out, errOut)
	}
	if r.Before == "" || r.Before != r.After {
		n.t.Fatalf("%s: reindex gives other records: %+v", n.name, r)
	}
	return r
}
