package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// disk is a small file system of its own that a test fills and frees.
type disk struct {
	t    testing.TB
	path string
}

func mountDisk(t *testing.T, size string) *disk {
	t.Helper()
	d := &disk{t: t, path: t.TempDir()}
	if err := syscall.Mount("tmpfs", d.path, "tmpfs", 0, "size="+size); err != nil {
		leaveOut(t, "a small disk cannot be mounted (run as root): "+err.Error())
	}
	t.Cleanup(func() {
		// Registered before the processes on it are started, so they have ended.
		if err := syscall.Unmount(d.path, 0); err != nil {
			t.Error(errors.Join(err, syscall.Unmount(d.path, syscall.MNT_DETACH)))
		}
	})
	return d
}

// leave fills the disk up to so many bytes, piece by piece: the processes write on meanwhile, and a piece that no longer
// fits is given back whole.
func (d *disk) leave(bytes int64) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.path, "ballast"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	size := info.Size()
	for piece := int64(8 << 20); ; {
		var s syscall.Statfs_t
		if err := syscall.Statfs(d.path, &s); err != nil {
			d.t.Fatal(err)
		}
		more := min(piece, int64(s.Bavail)*s.Bsize-bytes)
		if more <= 0 {
			return
		}
		switch err := syscall.Fallocate(int(f.Fd()), 0, size, more); {
		case err == nil:
			size += more
		case errors.Is(err, syscall.ENOSPC):
			piece = max(piece/2, s.Bsize)
		default:
			d.t.Fatal(err)
		}
	}
}

func (d *disk) clear() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.path, "ballast")); err != nil {
		d.t.Fatal(err)
	}
}

// refusesStorage expects a write to be refused because of the disk, with nothing written.
func (n *node) refusesStorage(number string) {
	n.t.Helper()
	eventually(n.t, 10*time.Second, "writes are answered storage_full", func() bool {
		a, err := n.post("/v1/operations?wait=accepted", encodeDrafts(n.t, issueDraft(n.t, n.agency, number, 1)))
		if err != nil {
			n.t.Fatal(err)
		}
		p := a.problem()
		return a.status == http.StatusServiceUnavailable && p.Code == model.CodeStorageFull && p.Written == "nothing" && a.header.Get("Retry-After") != ""
	})
}

// says tells whether readiness names a code.
func (n *node) says(code model.Code) bool {
	r, err := n.readiness()
	return err == nil && r.Status != sdk.OK && slices.ContainsFunc(r.Components, func(c sdk.Component) bool { return c.Code == code })
}

// TestNodeDiskFull fills the disk under a node's folder, first its reserve and then all of it, while another
// node goes on writing. Nothing is lost; reads go on; once there is space everything gets on by itself.
func TestNodeDiskFull(t *testing.T) {
	t.Parallel()
	d := mountDisk(t, "192m")
	c := newConsortium(t)
	n, other := c.nodes["beijing"], c.nodes["tianjin"]
	small := filepath.Join(d.path, "beijing")
	copyTree(t, n.dir, small)
	n.dir = small
	n.configure(func(m map[string]any) { m["genesis"] = filepath.Join(c.dir, "genesis.json") })
	c.start(n.name, other.name)

	b := newBook(t)
	stop, stopOther := b.writers(n, 2), b.writers(other, 1)
	pause(b, 5)
	d.leave(20 << 20)
	n.refusesStorage("reserve")
	eventually(t, 10*time.Second, "readiness names the disk", func() bool { return n.says(model.CodeStorageFull) })
	d.leave(0)
	eventually(t, 30*time.Second, "the node falls behind", func() bool { return n.at().Height+3 < other.at().Height })
	n.refusesStorage("full")
	reads := n.at()
	n.log()
	stop()
	d.clear()
	probe := &request{node: n, key: b.name + "-probe", numbers: []string{b.name + "-probe"}}
	probe.body = encodeDrafts(t, issueDraft(t, n.agency, probe.key, 7))
	eventually(t, 30*time.Second, "the node accepts again", func() bool {
		_, ok := b.send(probe, false)
		return ok
	})
	stopOther()
	b.requests = append(b.requests, probe)
	b.settle(other)
	eventually(t, 30*time.Second, "the node catches up", func() bool { return n.at().Position == other.at().Position })
	n.ready()
	c.sameLog(other.name, n.name)
	t.Logf("reads went on at height %d; afterwards %+v", reads.Height, n.at())
	n.p.stop()
	other.p.stop()
	c.ledger.p.stop()
	fsck(t, c.ledger.dir)
	if a, z := n.reindex(), other.reindex(); a.After != z.After {
		t.Errorf("other records: %+v, %+v", a, z)
	}
}

// TestLedgerDiskFull fills the disk under a ledger's folder. Its nodes go on accepting and reading; what they
// accepted is committed once the ledger has space again.
func TestLedgerDiskFull(t *testing.T) {
	t.Parallel()
	d := mountDisk(t, "96m")
	c := newConsortium(t)
	small := filepath.Join(d.path, "ledger")
	copyTree(t, c.ledger.dir, small)
	c.ledger.dir = small
	edit(t, filepath.Join(c.ledger.service, "ledger.yaml"), func(m map[string]any) { m["dir"] = small })
	c.start("beijing")
	n := c.nodes["beijing"]

	b := newBook(t)
	stop := b.writers(n, 2)
	pause(b, 5)
	d.leave(0)
	eventually(t, 30*time.Second, "writes wait and readiness says why", func() bool { return n.says(model.CodeLedgerUnavailable) })
	stop()
	before := n.at()
	for i := range 20 {
		number := b.name + "-full-" + string(rune('a'+i))
		r := &request{node: n, key: number, numbers: []string{number}, body: encodeDrafts(t, issueDraft(t, n.agency, number, i))}
		b.requests = append(b.requests, r)
		outcomes, ok := b.send(r, false)
		if !ok || outcomes[0].Status != model.Pending {
			t.Fatalf("a write while the ledger's disk is full: %v %v %+v", b.failures, ok, outcomes)
		}
	}
	if after := n.at(); after.Height != before.Height {
		t.Errorf("the ledger has grown from %+v to %+v", before, after)
	}
	n.log()
	if c.ledger.p.ended() {
		t.Error("the ledger's process has ended: nobody can read blocks")
	}
	if out := string(c.ledger.p.out.bytes()); !strings.Contains(out, "no space left") {
		t.Errorf("the ledger does not say what is wrong:\n%s", out)
	}
	d.clear()
	b.settle(n)
	n.ready()
	n.p.stop()
	c.ledger.p.stop()
	fsck(t, c.ledger.dir)
	n.reindex()
}

// TestOneDiskFull fills the one disk of a node with its ledger in its own process, all of it at once, so that
// every store in it fails to write.
func TestOneDiskFull(t *testing.T) {
	t.Parallel()
	d := mountDisk(t, "256m")
	n := solo(t, filepath.Join(d.path, "zhenglian"))
	n.start()
	b := newBook(t)
	b.diskFails, b.hasty = true, true
	stop := b.writers(n, 4)
	pause(b, 5)
	d.leave(0)
	n.refusesStorage(b.name + "-refused")
	eventually(t, 10*time.Second, "readiness names the disk", func() bool { return n.says(model.CodeStorageFull) })
	n.log()
	stop()
	d.clear()
	freed := time.Now()
	b.settle(n)
	n.ready()
	t.Logf("all is committed %v after there was space again", time.Since(freed).Round(time.Millisecond))

	// Killed in the middle of it, it loses nothing either. A start while the disk is full works or says why not.
	stop = b.writers(n, 4)
	pause(b, b.accepted())
	d.leave(0)
	n.refusesStorage(b.name + "-refused-again")
	stop()
	n.p.kill()
	n.launch()
	select {
	case <-n.p.done:
		if out := string(n.p.out.bytes()); n.p.status() == 0 || !strings.Contains(out, "no space left") {
			t.Errorf("started on a full disk: %s", out)
		}
	case <-time.After(2 * time.Second):
		n.refusesStorage(b.name + "-refused-at-start")
		n.p.kill()
	}
	d.clear()
	fsck(t, n.ledgerDir())
	n.start()
	b.settle(n)
	n.p.stop()
	fsck(t, n.ledgerDir())
	n.reindex()
}
