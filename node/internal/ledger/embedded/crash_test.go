package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// The test binary run again with these serves a ledger until it is killed.
const (
	childDirEnv = "ZL_LEDGER_CHILD_DIR"
	childKeyEnv = "ZL_LEDGER_CHILD_KEYS"
)

// serveChild is the child's whole life.
func serveChild(dir string) int {
	id, err := msp.LoadIdentity("LedgerMSP", os.Getenv(childKeyEnv), "ledger")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l, err := Open(dir, Config{Channel: testChannel, Chaincode: testChaincode, Identity: id, Contract: kv{},
		// Small buffers, so that kills also hit the moments when goleveldb rearranges its files.
		Limits: Limits{StateBuffer: 64 << 10}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(lis.Addr())
	// The parent holds the other end of stdin: if it dies, so does the child.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close(context.Background())
	}()
	if err := l.Serve(lis, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child is a ledger in a process of its own.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
	fails *bytes.Buffer
}

func startChild(t *testing.T, dir, keys string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0]), fails: &bytes.Buffer{}}
	c.cmd.Env = append(os.Environ(), childDirEnv+"="+dir, childKeyEnv+"="+keys)
	c.cmd.Stderr = c.fails
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		t.Fatalf("the child did not start: %v: %s", err, c.fails)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

func (c *child) kill() {
	_ = c.cmd.Process.Signal(syscall.SIGKILL)
	_ = c.cmd.Wait()
	_ = c.stdin.Close()
}

// TestKill kills a serving process at random moments under load, again and again on one folder. What was
// acknowledged is there afterwards, nothing is there twice, and the folder is sound each time before it is opened
// again.
func TestKill(t *testing.T) {
	kills := 4
	if os.Getenv("ZL_SOAK") != "" {
		kills = 60
	}
	r := newRig(t, nil)
	r.close()
	keys := t.TempDir()
	if err := r.identity.Save(keys, "ledger"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	acknowledged := map[string]string{}
	for round := range kills {
		c := startChild(t, r.dir, keys)
		conn, err := grpc.NewClient(c.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		gw, err := client.Connect(r.user, client.WithSign(r.user.SignDigest), client.WithClientConnection(conn))
		if err != nil {
			t.Fatal(err)
		}
		contract := gw.GetNetwork(testChannel).GetContract(testChaincode)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					key, value := fmt.Sprintf("r%d-w%d-%d", round, w, i), strings.Repeat(fmt.Sprint(i), 1+rand.IntN(2000))
					if _, err := contract.SubmitTransaction("append", key, value); err != nil {
						return // the child is dead
					}
					mu.Lock()
					acknowledged[key] = value
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) // a random moment is the point of the test
		c.kill()
		wg.Wait()
		_ = gw.Close()
		_ = conn.Close()
		report := mustBeSound(t, r.dir)
		t.Logf("kill %d: height %d, state %d, torn %v", round, report.Height, report.Applied, report.Torn)
		if t.Failed() {
			return
		}
	}
	r.open()
	for key, value := range acknowledged {
		if got := r.get(key); got != value {
			t.Fatalf("%s holds %d bytes, %d were acknowledged", key, len(got), len(value))
		}
	}
	t.Logf("%d acknowledged writes after %d kills", len(acknowledged), kills)
	r.close()
	mustBeSound(t, r.dir)
}

// TestRecoverState loses the state, all of it or its newest end, and opens again.
func TestRecoverState(t *testing.T) {
	for _, how := range []string{"whole", "tail"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, nil)
			fill(t, r, false)
			want := logical(t, r.dir)
			if how == "whole" {
				if err := os.RemoveAll(filepath.Join(r.dir, stateName)); err != nil {
					t.Fatal(err)
				}
			} else {
				cutNewestJournal(t, filepath.Join(r.dir, stateName), 1000)
				report := mustBeSound(t, r.dir)
				if report.Applied >= report.Height {
					t.Fatalf("nothing was cut off: %+v", report)
				}
			}
			r.open()
			r.close()
			if logical(t, r.dir) != want {
				t.Error("the recovered state differs")
			}
			mustBeSound(t, r.dir)
		})
	}
}

// TestTornBlock cuts off the end of the last block, as a crash in the middle of its write does: the block was never
// announced, and the ledger goes on from the one before it.
func TestTornBlock(t *testing.T) {
	r := newRig(t, nil)
	fill(t, r, false)
	if err := os.RemoveAll(filepath.Join(r.dir, stateName)); err != nil { // a state never lies ahead of the blocks
		t.Fatal(err)
	}
	cutNewestJournal(t, filepath.Join(r.dir, blocksName), 100)
	r.open()
	if h := r.l.Height(); h != 24 {
		t.Errorf("height %d", h)
	}
	r.submit("put", "k", "after")
	r.close()
	mustBeSound(t, r.dir)
}

// TestLostBlock takes away blocks that the state has seen: that is no crash, and the ledger refuses to open.
func TestLostBlock(t *testing.T) {
	r := newRig(t, nil)
	fill(t, r, false)
	cutNewestJournal(t, filepath.Join(r.dir, blocksName), 100)
	if _, err := Open(r.dir, r.cfg); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v", err)
	}
	if report := check(t, r.dir); len(report.Findings) == 0 || report.Findings[0].Code != CodeAhead {
		t.Errorf("report %+v", report)
	}
}

func cutNewestJournal(t *testing.T, dir string, n int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	last := names[len(names)-1]
	info, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(last, info.Size()-n); err != nil {
		t.Fatal(err)
	}
}

func TestOpenErrors(t *testing.T) {
	r := newRig(t, nil)
	if _, err := Open(r.dir, r.cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("two ledgers on one folder: %v", err)
	}
	if err := Create(r.dir, r.cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("create over an open one: %v", err)
	}
	// Another process, too.
	keys := t.TempDir()
	if err := r.identity.Save(keys, "ledger"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDirEnv+"="+r.dir, childKeyEnv+"="+keys)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), ErrInUse.Error()) {
		t.Errorf("a second process: %v %s", err, out)
	}
	r.close()
	if err := Create(r.dir, r.cfg); !errors.Is(err, ErrExists) {
		t.Errorf("create over a closed one: %v", err)
	}
	empty := t.TempDir()
	if _, err := Open(empty, r.cfg); !errors.Is(err, ErrNotCreated) {
		t.Errorf("open of an empty folder: %v", err)
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) > 0 {
		t.Errorf("opening made %v %v", entries, err)
	}
	other := r.cfg
	other.Channel = "elsewhere"
	if _, err := Open(r.dir, other); !errors.Is(err, ErrMismatch) {
		t.Errorf("another channel: %v", err)
	}
	other = r.cfg
	other.Identity = r.user
	if _, err := Open(r.dir, other); !errors.Is(err, ErrMismatch) {
		t.Errorf("a member's identity: %v", err)
	}
	// What an interrupted Create leaves is no ledger and does not stop the next one.
	half := t.TempDir()
	if err := os.MkdirAll(filepath.Join(half, blocksName), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"LOCK", "LOG", "MANIFEST-000000"} {
		if err := os.WriteFile(filepath.Join(half, blocksName, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Create(half, r.cfg); err != nil {
		t.Errorf("create after an interrupted one: %v", err)
	}
	l, err := Open(half, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFullDisk fills a small file system. The ledger stops accepting and says so, goes on answering reads, and
// after space is back and a restart everything acknowledged is there.
func TestFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=4m"); err != nil {
		leaveOut(t, "mounting a tmpfs needs root: "+err.Error())
	}
	r := &rig{world: newWorld(t), t: t, dir: filepath.Join(mount, "ledger")}
	t.Cleanup(func() {
		r.close()
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	r.cfg = r.config(kv{})
	if err := Create(r.dir, r.cfg); err != nil {
		t.Fatal(err)
	}
	r.user = issue(t, r.beijing, "bj-scjg", msp.Validity{})
	r.open()
	acknowledged := 0
	var err error
	for ; acknowledged < 1000; acknowledged++ {
		if _, err = r.contract().SubmitTransaction("put", fmt.Sprint("k", acknowledged), strings.Repeat("x", 40<<10)); err != nil {
			break
		}
	}
	if status.Code(err) != codes.Unavailable {
		t.Fatalf("after %d writes: %v", acknowledged, err)
	}
	if !errors.Is(r.l.Err(), ErrStopped) || !errors.Is(r.l.Err(), syscall.ENOSPC) {
		t.Errorf("cause %v", r.l.Err())
	}
	if _, err := r.contract().SubmitTransaction("put", "more", "1"); status.Code(err) != codes.Unavailable {
		t.Errorf("write while stopped: %v", err)
	}
	if v := r.get("k0"); len(v) != 40<<10 {
		t.Errorf("read while stopped: %d bytes", len(v))
	}
	blocks, err := r.network().BlockEvents(t.Context(), client.WithStartBlock(0))
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(acknowledged + 1) {
		if b := <-blocks; b.GetHeader().GetNumber() != n {
			t.Fatalf("block %d, want %d", b.GetHeader().GetNumber(), n)
		}
	}
	if err := r.l.Close(t.Context()); err != nil {
		t.Logf("close on a full disk: %v", err)
	}
	r.l = nil
	if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	mustBeSound(t, r.dir)
	r.open()
	for i := range acknowledged {
		if v := r.get(fmt.Sprint("k", i)); len(v) != 40<<10 {
			t.Fatalf("k%d: %d bytes", i, len(v))
		}
	}
	r.submit("put", "again", "1")
	r.close()
	mustBeSound(t, r.dir)
}
