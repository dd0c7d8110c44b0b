package embedded

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// TestNodeClient drives the ledger over TLS with the official Node client, unchanged.
func TestNodeClient(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		leaveOut(t, "needs Node.js 20 or later")
	}
	dir := filepath.Join("testdata", "nodeclient")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@hyperledger", "fabric-gateway")); err != nil {
		leaveOut(t, "needs the Node client: npm ci --prefix node/internal/ledger/embedded/"+filepath.ToSlash(dir))
	}
	r := newRig(t, nil)
	dial := r.serveTLS()
	keys := t.TempDir()
	if err := r.user.Save(keys, "user"); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(keys, "user.key"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]string{
		"address": dial().Target(), "root": string(r.ledger.Root()), "mspId": r.user.MspID(), "cert": string(r.user.Credentials()),
		"key": string(key), "channel": testChannel, "chaincode": testChaincode,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "client.js", string(config))
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got, want any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal([]byte(`{
		"result": "done", "value": "你好",
		"status": {"code": 0, "block": 2, "successful": true},
		"refusal": {"endorse": true, "code": 10, "details": ["chaincode response 500, out of order"]},
		"event": {"name": "changed", "payload": "payload", "block": 2, "same": true},
		"blocks": [0, 1, 2], "filtered": 0
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the Node client saw %s", out)
	}
}

// leaveOut skips a test for want of a tool or a right, or fails it where everything has to run.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("ZL_STRICT") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
