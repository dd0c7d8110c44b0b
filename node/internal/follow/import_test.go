package follow_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded/embeddedtest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// TestImport: a ledger takes over a pilot's blocks. Its followers come to the same log: positions, leaves, whose
// word each was, and which were late, though it is all done at once, long after and by somebody else.
func TestImport(t *testing.T) {
	old := newWorld(t)
	beijing := old.client(t, "BeijingMSP", "beijing", old.Conn)
	hebei := old.client(t, "HebeiMSP", "hebei", old.Conn)
	old.apply(t, beijing, old.issues(20)...)
	old.apply(t, hebei, contracttest.Op("he-scjg", model.LicenceIssue, model.KindLicence, "he-scjg.1", 1, time.Now(),
		model.IssueBody{Value: contracttest.Licence(old.genesis, "he-scjg", 500)}))
	ops := old.issues(2)
	old.conflict(t, beijing, ops[0], ops[1])
	old.call(t, beijing, model.FunctionGet, []byte(model.KindLicence), []byte("bj-scjg.1"))
	old.apply(t, beijing, old.act(model.LicenceSuspend, 1, 2))
	before := old.node(t, beijing)
	before.caughtUp(old)

	genesis, err := old.Ledger.Genesis()
	if err != nil {
		t.Fatal(err)
	}
	block0 := marshal(t, genesis)
	doc, err := model.Canonical(old.genesis)
	if err != nil {
		t.Fatal(err)
	}
	c := &contract.Contract{Genesis: model.DigestOf(doc), ImportFrom: model.Digest(fabblock.HeaderHash(genesis.GetHeader())), Verify: old.contract.Verify}
	w := &world{World: embeddedtest.Start(t, "jjj", chaincode, c, "BeijingMSP", "TianjinMSP", "HebeiMSP", "CustomsMSP"), genesis: old.genesis, contract: c}
	customs := w.client(t, "CustomsMSP", "customs", w.Conn)
	w.call(t, customs, model.FunctionInit, doc, block0)
	n := w.node(t, customs)
	var blocks [][]byte
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for b, err := range beijing.Blocks(ctx, 1) {
		if err != nil {
			t.Fatal(err)
		}
		raw, err := proto.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if blocks = append(blocks, raw); uint64(len(blocks)) == old.Ledger.Height()-1 {
			break
		}
	}
	w.call(t, customs, model.FunctionImport, blocks[:3]...)
	w.call(t, customs, model.FunctionGet, []byte(model.KindLicence), []byte("bj-scjg.1")) // must not make the rest late
	w.call(t, customs, model.FunctionImport, blocks[3:]...)
	n.caughtUp(w)
	status := importStatus(t, n)
	if status.Position != before.records.Position() {
		t.Fatalf("imported up to %d of %d", status.Position, before.records.Position())
	}
	for _, member := range []struct{ msp, name string }{{"BeijingMSP", "beijing"}, {"TianjinMSP", "tianjin"}, {"HebeiMSP", "hebei"}} {
		w.call(t, w.client(t, member.msp, member.name, w.Conn), model.FunctionCloseImport,
			[]byte(strconv.FormatUint(status.Position, 10)), []byte(status.Chain.String()))
	}
	w.serial = 1000
	w.apply(t, w.client(t, "BeijingMSP", "beijing", w.Conn), w.issues(1)...)
	n.caughtUp(w)

	was, err := before.records.Entries(0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	is, err := n.records.Entries(0, 1000)
	if err != nil || len(is) != len(was)+2 {
		t.Fatalf("%d leaves, were %d (%v)", len(is), len(was), err)
	}
	begun, err := old.genesis.Operations()
	if err != nil {
		t.Fatal(err)
	}
	for i := range was {
		a, b := was[i], is[i]
		if a.Receipt.Leaf != b.Receipt.Leaf || a.Receipt.Position != b.Receipt.Position || a.Receipt.Time != b.Receipt.Time || a.Record != b.Record {
			t.Fatalf("leaf %d: %+v, was %+v", i, b.Receipt, a.Receipt)
		}
		if i >= len(begun) && (a.Msp != b.Msp || a.Receipt.Late != b.Receipt.Late || b.Receipt.Late) {
			t.Errorf("leaf %d: by %s, late %v; was by %s, late %v", i, b.Msp, b.Receipt.Late, a.Msp, a.Receipt.Late)
		}
	}

	// A power cut takes all operations: they come back out of the imported blocks.
	want, _, err := n.records.Digest()
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	lose(t, filepath.Join(n.dir, "records", "operations"))
	n.open()
	wait(t, "the operations", func() bool {
		got, _, err := n.records.Digest()
		return err == nil && got == want
	})
}

func importStatus(t *testing.T, n *node) model.Import {
	t.Helper()
	s := n.records.Snapshot()
	defer s.Release()
	raw, err := s.Get(model.StateKey(model.KindImport, model.ImportID))
	if err != nil || raw == nil {
		t.Fatalf("no import (%v)", err)
	}
	var entry model.StateEntry
	if err := json.Unmarshal(raw, &entry); err != nil {
		t.Fatal(err)
	}
	value, err := model.DecodeEntry(model.KindImport, model.ImportID, entry.Value)
	if err != nil {
		t.Fatal(err)
	}
	return *value.(*model.Import)
}
