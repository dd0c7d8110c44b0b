package follow_test

import (
	"context"
	"encoding/base64"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

// BenchmarkFollow verifies and applies licences of one kilobyte in transactions of 100, into a fresh
// archive and fresh records: the follower's whole cost of a record.
func BenchmarkFollow(b *testing.B) {
	w := newWorld(b)
	c := w.client(b, "BeijingMSP", "beijing", w.Conn)
	const perTx = 100
	n := 0
	for n < max(b.N, 1) {
		w.apply(b, c, w.kilobytes(perTx)...)
		n += perTx
	}
	var raw [][]byte
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for block, err := range c.Blocks(ctx, 0) {
		if err != nil {
			b.Fatal(err)
		}
		x, err := proto.Marshal(block)
		if err != nil {
			b.Fatal(err)
		}
		if raw = append(raw, x); uint64(len(raw)) == w.Ledger.Height() {
			break
		}
	}
	if err := w.Ledger.Close(ctx); err != nil { // its own background work is not the follower's
		b.Fatal(err)
	}
	runtime.GC()
	dir := b.TempDir()
	a, err := archive.Open(filepath.Join(dir, "archive"), archive.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	r, err := records.Open(filepath.Join(dir, "records"), records.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	before := processor(b)
	b.ResetTimer()
	from := fixed{a, raw}
	if err := follow.Reindex(context.Background(), follow.Config{Archive: from, Records: r.Writer(), Contract: w.contract, Chaincode: chaincode}, nil); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64((processor(b)-before).Microseconds())/float64(n), "cpu-µs/record")
}

// processor is the processor time that this process has used so far: the machine may be shared.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fixed is an archive whose blocks come from memory while they are appended to a real one.
type fixed struct {
	*archive.Archive
	blocks [][]byte
}

func (f fixed) Height() uint64                 { return uint64(len(f.blocks)) }
func (f fixed) Block(n uint64) ([]byte, error) { return f.blocks[n], nil }
func (f fixed) Marked(uint64) []uint64         { return []uint64{0} }

// kilobytes makes operations of some 1,024 bytes.
func (w *world) kilobytes(n int) []model.Operation {
	ops := w.issues(n)
	for i := range ops {
		serial := w.serial - n + 1 + i
		v := contracttest.Licence(w.genesis, "bj-scjg", serial)
		v.Signature.Value = base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(name(serial), 8))[:64])
		v.Face["scope"] = strings.Repeat("软件开发；技术服务、", 3)
		ops[i] = contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, ops[i].Record, 1, time.Now(), model.IssueBody{Value: v})
	}
	return ops
}
