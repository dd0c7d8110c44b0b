package embedded

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// seedProposal is a good signed proposal.
func (r *rig) seedProposal() []byte {
	r.t.Helper()
	p, err := r.contract().NewProposal("put", client.WithArguments("k", "v"))
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := p.Endorse(); err != nil { // signs it
		r.t.Fatal(err)
	}
	raw, err := p.Bytes()
	if err != nil {
		r.t.Fatal(err)
	}
	var proposed gateway.ProposedTransaction
	unmarshal(r.t, raw, &proposed)
	return marshal(proposed.GetProposal())
}

// FuzzProposal feeds proposals to everything before the contract runs.
func FuzzProposal(f *testing.F) {
	r := newRig(f, nil)
	seed := r.seedProposal()
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Add([]byte{})
	f.Add([]byte("\x0a\x00\x12\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var signed peer.SignedProposal
		if proto.Unmarshal(b, &signed) != nil {
			return
		}
		p, err := r.l.unpack(&signed)
		if err == nil {
			err = r.l.mayPropose(p, "", "")
		}
		if err == nil && string(marshal(&signed)) != string(seed) && string(signed.GetProposalBytes()) != proposalBytes(t, seed) {
			t.Errorf("an altered proposal was admitted: %x", b)
		}
	})
}

func proposalBytes(t *testing.T, seed []byte) string {
	var s peer.SignedProposal
	unmarshal(t, seed, &s)
	return string(s.GetProposalBytes())
}

// FuzzEnvelope feeds transactions to Submit's checks.
func FuzzEnvelope(f *testing.F) {
	r := newRig(f, nil)
	env := r.signed(r.endorse("put", "k", "v"))
	f.Add(env.GetPayload(), env.GetSignature())
	f.Add(env.GetPayload()[:len(env.GetPayload())/2], env.GetSignature())
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, payload, sig []byte) {
		tx, err := r.l.accept(&common.Envelope{Payload: payload, Signature: sig})
		if err == nil && string(payload) != string(env.GetPayload()) {
			t.Errorf("an altered transaction was accepted: %+v", tx)
		}
	})
}

// FuzzSeek feeds requests for blocks.
func FuzzSeek(f *testing.F) {
	r := newRig(f, nil)
	for _, info := range []*orderer.SeekInfo{{Start: oldest, Stop: newest}, {Start: next, Stop: at(7)}, {}} {
		env := r.seekEnvelope(info, testChannel)
		f.Add(env.GetPayload(), env.GetSignature())
	}
	d := delivery{Ledger: r.l}
	f.Fuzz(func(t *testing.T, payload, sig []byte) {
		info, code := d.readSeek(&common.Envelope{Payload: payload, Signature: sig})
		if (code == common.Status_SUCCESS) != (info != nil) {
			t.Errorf("status %v, request %v", code, info)
		}
	})
}

// FuzzRecords feeds files in leveldb's log format to the check that precedes opening.
func FuzzRecords(f *testing.F) {
	r := newRig(f, nil)
	fill(f, r, true)
	for _, pattern := range []string{"*.log", "MANIFEST-*"} {
		names, err := filepath.Glob(filepath.Join(r.dir, "*", pattern))
		if err != nil || len(names) == 0 {
			f.Fatal(names, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
			f.Add(b[:len(b)*2/3])
		}
	}
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &fileScan{name: "fuzz", out: &dbFiles{}}
		total := 0
		whole := s.records("f", b, true, func(_ int, record []byte) { total += len(record) })
		if total > len(b) {
			t.Errorf("%d bytes of records in %d", total, len(b))
		}
		if whole == (len(s.out.damage)+len(s.out.torn) > 0) && len(s.out.damage) == 0 {
			t.Errorf("whole %v, torn %v", whole, s.out.torn)
		}
	})
}

// FuzzTable feeds tables.
func FuzzTable(f *testing.F) {
	r := newRig(f, nil)
	fill(f, r, true)
	names, err := filepath.Glob(filepath.Join(r.dir, "*", "*.ldb"))
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(append(make([]byte, tableFooter-len(tableMagic)), tableMagic...))
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "db"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, "db", "000001.ldb"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := &fileScan{root: dir, name: "db", out: &dbFiles{}}
		if err := s.table(1, int64(len(b)), true); err != nil {
			t.Error(err)
		}
	})
}

// FuzzStored feeds stored values to their decoders.
func FuzzStored(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendVersion(nil, fabblock.Version{Block: 300, Tx: 7}))
	f.Add(sealBlock([]byte("block")))
	f.Add(appendHistoryKey(nil, "kv", "key", 5, 6))
	f.Add(appendDataKey(nil, "kv", "\x00composite\x00"))
	f.Add(binary.AppendUvarint([]byte{historyPrefix, 'n', 0}, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, rest, err := cutVersion(b); err == nil {
			if again, tail, err := cutVersion(append(appendVersion(nil, v), rest...)); err != nil || again != v || string(tail) != string(rest) {
				t.Errorf("version %v", v)
			}
		}
		if raw, err := unsealBlock(b); err == nil && string(sealBlock(raw)) != string(b) {
			t.Error("a sealed block is not canonical")
		}
		_ = describeKey(b)
		_, _ = handlesIn(b)
	})
}
