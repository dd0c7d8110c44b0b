package contract_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// sent is a call as its transaction holds it, and what the contract answered.
type sent struct {
	msp     model.MSPID
	cn      string
	at      time.Time
	args    [][]byte
	payload []byte
}

// leaf is what the plain model knows of a leaf.
type leaf struct{ operation, record model.Digest }

func leafOf(p *plain, op *model.Operation) leaf {
	return leaf{sha256.Sum256(op.Encode()), model.RecordDigest(op.Kind, op.Record, p.records[op.Kind][op.Record].header)}
}

// moves takes all that happened over into a ledger of its own, as docs/spec/import-ledger.md describes it, and
// compares: the same state, one more leaf, and every stumble on the way answered as the page says.
func (w *world) moves() {
	p := w.blocks()
	t, at := w.t, w.peer.now.AddDate(0, 1, 0)
	n := &peerNode{state: map[string][]byte{}, now: at}
	c := *w.peer.contract
	c.ImportFrom, c.Clock = p.Source(), func() time.Time { return at }
	n.contract = &c
	invoke := func(want model.Code, msp model.MSPID, cn, function string, args ...[]byte) {
		t.Helper()
		r, s := n.propose(msp, cn, at, append([][]byte{[]byte(function)}, args...)...)
		if got := model.Code(r.Message); got != want || (want == "") != (r.Status == 200) {
			t.Fatalf("%s by %s/%s: %q, want %q", function, msp, cn, got, want)
		}
		if want != "" && len(s.writes) > 0 {
			t.Fatalf("%s was refused and writes", function)
		}
		n.commit(s)
	}
	invoke("", "HebeiMSP", "hebei", model.FunctionInit, p.Document, p.Blocks[0])
	for next := 1; next < len(p.Blocks); {
		switch w.roll(8, "stumble") {
		case 0:
			if wrong := w.roll(len(p.Blocks), "wrong block"); wrong != next {
				invoke(model.CodeImportOrder, "BeijingMSP", "beijing", model.FunctionImport, p.Blocks[wrong])
			}
		case 1:
			op := contracttest.Op("bj-scjg", model.EndDelegation, model.KindDelegation, "bj-scjg.1", 2, at, model.EmptyBody{})
			invoke(model.CodeImportOpen, "BeijingMSP", "beijing", model.FunctionApply, op.Encode())
		case 2:
			if next == 1 { // while the members are those of genesis
				invoke(model.CodeImportMismatch, "BeijingMSP", "beijing", model.FunctionCloseImport, []byte("1"), []byte(model.Digest{}.String()))
			}
		}
		group := 1 + w.roll(min(4, len(p.Blocks)-next), "group")
		invoke("", "CustomsMSP", "customs", model.FunctionImport, p.Blocks[next:next+group]...)
		next += group
	}
	var chain model.Digest
	for _, l := range w.leaves {
		chain = sha256.Sum256(slices.Concat(chain[:], l.operation[:], l.record[:]))
	}
	w.approve(invoke, chain)
	want := maps.Clone(w.peer.state)
	want[model.ImportBlockKey] = p.Blocks[0]
	key := model.StateKey(model.KindImport, model.ImportID)
	want[key] = n.state[key]
	for k := range n.state {
		if !bytes.Equal(n.state[k], want[k]) {
			t.Fatalf("%s:\nmoved %q\nis    %q", k, n.state[k], want[k])
		}
	}
	if len(n.state) != len(want) {
		t.Fatalf("%d keys, want %d", len(n.state), len(want))
	}
	w.seen[string(model.ImportClosed)]++
}

// nodeOf is a node that an organisation lists at the beginning.
func (w *world) nodeOf(p *contracttest.Pilot, id model.MSPID) string {
	for _, o := range p.Genesis.Organisations {
		if o.Msp == id {
			return string(o.Nodes[0])
		}
	}
	return ""
}

// approve tries callers until the import is closed: exactly when k members have found it whole.
func (w *world) approve(invoke func(model.Code, model.MSPID, string, string, ...[]byte), chain model.Digest) {
	args := [][]byte{fmt.Append(nil, len(w.leaves)), []byte(chain.String())}
	approvals := map[model.MSPID]bool{}
	closed := func() bool { return w.plain.enough(&model.Proposal{Approvals: approvalsOf(approvals)}) }
	for range 200 {
		msp := pick(w, "approver", []model.MSPID{"BeijingMSP", "TianjinMSP", "HebeiMSP", "CustomsMSP", "ExtraMSP", "NoneMSP"})
		cn := pick(w, "approver's name", []string{"beijing", "tianjin", "hebei", "customs", "extra", "bj-scjg"})
		o := w.plain.member(msp)
		want := model.Code("")
		switch {
		case o == nil || !slices.Contains(o.Nodes, model.NodeID(cn)):
			want = model.CodeNotActingFor
		case approvals[msp]:
			want = model.CodeAlreadyApproved
		}
		invoke(want, msp, cn, model.FunctionCloseImport, args...)
		if want == "" {
			approvals[msp] = true
		}
		if closed() {
			break
		}
	}
	// Whoever was not drawn.
	for id := range w.plain.records[model.KindOrganisation] {
		if o := w.plain.member(model.MSPID(id)); o != nil && !closed() && !approvals[o.Msp] {
			invoke("", o.Msp, string(o.Nodes[0]), model.FunctionCloseImport, args...)
			approvals[o.Msp] = true
		}
	}
	if !closed() {
		w.t.Fatalf("%d approvals do not close it", len(approvals))
	}
	invoke(model.CodeImportClosed, "BeijingMSP", "beijing", model.FunctionCloseImport, args...)
}

func approvalsOf(ids map[model.MSPID]bool) (out []model.Approval) {
	for id := range ids {
		out = append(out, model.Approval{Msp: id})
	}
	return out
}

// blocks is an embedded ledger with all that was sent, in blocks of some transactions, and with what did not
// become valid in between.
func (w *world) blocks() *contracttest.Pilot {
	var more []model.MSPID
	for _, s := range w.sent {
		if w.nodeOf(&contracttest.Pilot{Ledger: &contracttest.Ledger{Genesis: w.genesis}}, s.msp) == "" && !slices.Contains(more, s.msp) {
			more = append(more, s.msp)
		}
	}
	p := contracttest.NewPilotOf(w.genesis, nil, more...)
	for _, s := range w.sent {
		envelope := contracttest.Envelope(contracttest.AuthorityOf(s.msp).Identity(s.cn), p.Genesis.Channel, s.at, s.payload, s.args...)
		if w.chance(4, "not valid") {
			p.Put(envelope, peer.TxValidationCode_MVCC_READ_CONFLICT)
		}
		p.Put(envelope, peer.TxValidationCode_VALID)
		if w.chance(2, "cut") {
			p.Cut()
		}
	}
	p.Cut()
	return p
}
