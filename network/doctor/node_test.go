package doctor

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// nodeStandIn is a node's admin listener that says that something is not well for a while after its start.
type nodeStandIn struct {
	Admin  string // host:port
	Unwell time.Duration
}

// serveNode is what the test program does in a node's place.
func serveNode(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "stand-in.json"))
	if err != nil {
		return err
	}
	var s nodeStandIn
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	began := time.Now()
	http.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		status := "ok"
		if time.Since(began) < s.Unwell {
			status = "degraded"
		}
		fmt.Fprintf(w, `{"status":%q,"components":[{"name":"outbox","status":%[1]q}]}`, status)
	})
	ended := make(chan error, 2)
	go func() { ended <- http.ListenAndServe(s.Admin, nil) }()
	go func() { ended <- orphaned() }()
	return <-ended
}

// TestRecoveringNode: a node that is well at the last look has no finding, whatever it said before; one that stays unwell
// has.
func TestRecoveringNode(t *testing.T) {
	const between = 3 * time.Second
	dir := folder(t)
	var nodes []map[string]any
	var listeners []net.Listener
	for name, unwell := range map[string]time.Duration{"beijing": 0, "tianjin": between * 5 / 6, "hebei": time.Hour} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		home := filepath.Join(dir, "nodes", name)
		raw, err := json.Marshal(nodeStandIn{l.Addr().String(), unwell})
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(home, "stand-in.json"), raw, 0o600)
		nodes = append(nodes, map[string]any{"name": name, "dir": home, "url": "http://127.0.0.1:1", "admin_url": "http://" + l.Addr().String()})
		listeners = append(listeners, l) // held until each has an address of its own
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	raw, err := json.Marshal(map[string]any{"genesis_digest": "0", "nodes": nodes})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "nodes.json"), raw, 0o600)
	n, err := fabric.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range n.Nodes() {
		t.Cleanup(func() { _ = node.Kill() })
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range n.Nodes() {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			c, err := net.Dial("tcp", hostOf(node.AdminURL))
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	report := Examine(t.Context(), n, Options{Between: between, MinFree: 1})
	if want := []Code{OrdererDown, NoLeader, PeerDown, NodeNotReady}; !slices.Equal(report.Codes(), want) {
		t.Errorf("found %v, want %v", report.Codes(), want)
	}
	if f := report.Findings[len(report.Findings)-1]; f.Subject != "node-hebei" || report.Findings[len(report.Findings)-2].Code == NodeNotReady {
		t.Errorf("%+v", report.Findings)
	}
}
