package outbox

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const childEnv = "ZL_OUTBOX_CHILD"

func childDir() string { return os.Getenv(childEnv) }

// appendForEver is the child process: it appends, and says on its output what was acknowledged, until it
// is killed.
func appendForEver(dir string) {
	o, err := Open(dir, Config{MinFree: 1})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	lines := make(chan string)
	for range 4 {
		go func() {
			for {
				ops := operations(rand.IntN(5) + 1)
				key := model.NewOpID()
				if _, err := put(o, key, model.Digest(ops[0].Encode()[:32]), ops); err != nil {
					lines <- "error " + err.Error()
					return
				}
				s := "accepted " + key.String()
				for i := range ops {
					s += " " + ops[i].ID.String()
				}
				lines <- s
				switch rand.IntN(4) {
				case 0:
					if err := o.Refuse([]model.Outcome{{Operation: ops[0].ID, Problem: problem(model.CodeTransition)}}); err != nil {
						lines <- "error " + err.Error()
						return
					}
					lines <- "refused " + ops[0].ID.String()
				case 1:
					txID := strings.Repeat(ops[0].ID.String(), 2)
					if err := o.StoreEnvelope(txID, ops[0].Encode(), ids(ops)); err != nil {
						lines <- "error " + err.Error()
						return
					}
					lines <- "stored " + txID
				}
			}
		}()
	}
	out := bufio.NewWriter(os.Stdout)
	for l := range lines {
		_, _ = out.WriteString(l + "\n")
		_ = out.Flush()
	}
}

// Killed at any moment, the outbox holds all that it acknowledged, requests whole or not at all.
func TestKill(t *testing.T) {
	kills := 4
	if os.Getenv("ZL_SOAK") != "" {
		kills = 50
	}
	dir := t.TempDir()
	requests := map[string][]string{}
	refused, stored := map[string]bool{}, map[string]bool{}
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(pipe)
		for n := 0; ; n++ {
			l, err := lines.ReadString('\n')
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				break
			}
			if n == 0 {
				after := time.Duration(rand.IntN(100)) * time.Millisecond
				time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			}
			switch f := strings.Fields(l); f[0] {
			case "accepted":
				requests[f[1]] = f[2:]
			case "refused":
				refused[f[1]] = true
			case "stored":
				stored[f[1]] = true
			default:
				t.Fatal(l)
			}
		}
		_ = cmd.Wait()

		o := open(t, dir, nil)
		waiting := map[string]bool{}
		for _, id := range pending(t, o) {
			waiting[id.String()] = true
		}
		for key, of := range requests {
			var k model.OpID
			if err := k.UnmarshalText([]byte(key)); err != nil {
				t.Fatal(err)
			}
			if _, n, ok, err := o.Lookup(k); err != nil || !ok || n != len(of) {
				t.Fatalf("request %s: %d operations, %v, %v", key, n, ok, err)
			}
			for _, id := range of {
				if waiting[id] == refused[id] && refused[id] {
					t.Fatalf("operation %s was refused and waits", id)
				}
				if !waiting[id] && !refused[id] {
					var op model.OpID
					if err := op.UnmarshalText([]byte(id)); err != nil {
						t.Fatal(err)
					}
					// Its refusal may have reached the disk before its acknowledgement.
					if out, ok, err := o.Outcome(op); err != nil || !ok || out.Status != model.Rejected {
						t.Fatalf("operation %s was acknowledged and is gone", id)
					}
				}
			}
		}
		err = o.Envelopes(func(txID string, _ []byte, _ []model.OpID) error { delete(stored, txID); return nil })
		if err != nil || len(stored) != 0 {
			t.Fatalf("%d envelopes are gone: %v", len(stored), err)
		}
		closeChecked(t, o)
	}
	if len(requests) == 0 {
		t.Error("nothing was accepted")
	}
	t.Logf("%d requests, %d refusals, %d kills", len(requests), len(refused), kills)
}
