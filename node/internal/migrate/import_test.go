package migrate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
)

// newLedger is a ledger with the real contract on a state in memory. Calls fail as faults says, applied or not.
type newLedger struct {
	mu     sync.Mutex
	state  contracttest.State // guarded by mu
	k      *contract.Contract
	who    model.MSPID
	leaves []model.Applied // guarded by mu
	calls  int             // guarded by mu
	faults func(function string) fault
}

type fault int

const (
	none fault = iota
	lost       // nothing was ordered
	seen       // committed, and the answer is lost
)

func (l *newLedger) Evaluate(_ context.Context, function string, args ...[]byte) ([]byte, error) {
	if l.faults != nil && l.faults(function) != none {
		return nil, model.E(model.CodeLedgerUnavailable)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return contract.Get(l.state, model.Kind(args[0]), model.RecordID(args[1]))
}

func (l *newLedger) Call(_ context.Context, function string, args [][]byte) error {
	f := none
	if l.faults != nil {
		f = l.faults(function)
	}
	if f == lost {
		return model.E(model.CodeLedgerUnavailable)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	_, cn := contracttest.Caller(contracttest.Genesis(), "bj-scjg")
	x, err := l.k.Execute(l.state, model.Call{Function: function, Args: args, Msp: l.who, CommonName: cn, Time: contracttest.Created.Add(99 * time.Hour)})
	if err != nil {
		return err
	}
	for _, w := range x.Writes {
		l.state[w.Key] = w.Value
	}
	l.leaves = append(l.leaves, x.Applied...)
	if f == seen {
		return model.E(model.CodeOutcomeUnknown)
	}
	return nil
}

func taking(p *contracttest.Pilot) *newLedger {
	k := *p.Contract
	k.ImportFrom = p.Source()
	return &newLedger{state: contracttest.State{}, k: &k, who: "BeijingMSP"}
}

// source is a pilot's blocks, which a test may have changed.
type source [][]byte

func (s source) Height() uint64 { return uint64(len(s)) }

func (s source) Blocks(from uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, b := range s[from:] {
			if !yield(b, nil) {
				return
			}
		}
	}
}

func (s source) Hash(n uint64) (model.Digest, error) {
	var b common.Block
	if n >= s.Height() {
		return model.Digest{}, errors.New("no such block")
	}
	err := proto.Unmarshal(s[n], &b)
	return contracttest.HeaderHash(b.GetHeader()), err
}

// pilot has n blocks of issues, each with a few transactions, one of them invalid.
func pilot(t *testing.T, n int) *contracttest.Pilot {
	t.Helper()
	p := contracttest.NewPilot()
	at := contracttest.Created
	serial := 0
	for range n {
		for range 1 + rand.IntN(3) {
			at = at.Add(time.Minute)
			serial++
			op := contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, model.NewRecordID("bj-scjg", uint64(serial)), 1, at,
				model.IssueBody{Value: contracttest.Licence(p.Genesis, "bj-scjg", serial)})
			if _, err := p.Call("BeijingMSP", "beijing", at, model.FunctionApply, op.Encode()); err != nil {
				t.Fatal(err)
			}
		}
		lost := contracttest.Op("bj-scjg", model.LicenceSuspend, model.KindLicence, "bj-scjg.1", 2, at, contracttest.Act("2026-06-01"))
		p.Put(contracttest.Envelope(contracttest.AuthorityOf("BeijingMSP").Identity("beijing"), p.Genesis.Channel, at, []byte(`{"accepted":1}`),
			[]byte(model.FunctionApply), lost.Encode()), peer.TxValidationCode_MVCC_READ_CONFLICT)
		p.Cut()
	}
	return p
}

func quick() migrate.Options {
	return migrate.Options{BatchBytes: 8 << 10, Pause: time.Millisecond, Stall: 20 * time.Second}
}

// TestImport comes to the pilot's end, however often calls fail, committed or not, and whoever else imports.
func TestImport(t *testing.T) {
	p := pilot(t, 30)
	for _, c := range []struct {
		name      string
		importers int
		faulty    bool
	}{{"alone", 1, false}, {"faults", 1, true}, {"three at once", 3, true}} {
		t.Run(c.name, func(t *testing.T) {
			l := taking(p)
			if c.faulty {
				l.faults = func(string) fault { return []fault{none, none, lost, seen}[rand.IntN(4)] }
			}
			var wg sync.WaitGroup
			for range c.importers {
				wg.Go(func() {
					var last migrate.Progress
					o := quick()
					o.Progress = func(x migrate.Progress) {
						if x.Blocks < last.Blocks || x.Total != uint64(len(p.Blocks)) {
							t.Errorf("progress from %+v to %+v", last, x)
						}
						last = x
					}
					s, err := migrate.Import(t.Context(), l, source(p.Blocks), p.Document, o)
					if err != nil {
						t.Error(err)
						return
					}
					if s.Closed || s.Position != p.Position() || s.Chain != p.Chain() || s.Blocks != uint64(len(p.Blocks)) {
						t.Errorf("%+v", s)
					}
				})
			}
			wg.Wait()
			if len(l.leaves) != len(p.Applied) {
				t.Fatalf("%d leaves, the pilot has %d", len(l.leaves), len(p.Applied))
			}
			for i := range l.leaves {
				if l.leaves[i].Digest != p.Applied[i].Digest || l.leaves[i].Effect.Header != p.Applied[i].Effect.Header {
					t.Fatalf("leaf %d differs", i)
				}
			}
			before := l.calls
			if _, err := migrate.Import(t.Context(), &newLedger{state: l.state, k: l.k}, source(p.Blocks), p.Document, quick()); err != nil || l.calls != before {
				t.Errorf("again: %v", err)
			}
		})
	}
}

// TestImportHalves: what is too much for one transaction is sent in smaller ones.
func TestImportHalves(t *testing.T) {
	p := pilot(t, 30)
	l := taking(p)
	big := &limited{newLedger: l, most: 3}
	o := quick()
	o.BatchBytes = 1 << 20
	if s, err := migrate.Import(t.Context(), big, source(p.Blocks), p.Document, o); err != nil || s.Position != p.Position() {
		t.Fatal(s, err)
	}
	if big.refused == 0 || big.refused > 40 {
		t.Errorf("%d calls were too large", big.refused)
	}
}

type limited struct {
	*newLedger
	most, refused int
}

func (l *limited) Call(ctx context.Context, function string, args [][]byte) error {
	if function == model.FunctionImport && len(args) > l.most {
		l.refused++
		return model.E(model.CodeLedgerUnavailable).With("message payload is too large")
	}
	return l.newLedger.Call(ctx, function, args)
}

// reseal makes a block anew, signed as only the old ledger could: with other transactions.
func reseal(t *testing.T, p *contracttest.Pilot, n int, change func(data [][]byte, codes []byte) ([][]byte, []byte), signed bool) [][]byte {
	t.Helper()
	out := slices.Clone(p.Blocks[:n])
	previous := p.Headers[n-1]
	for i, raw := range p.Blocks[n:] {
		var b common.Block
		if err := proto.Unmarshal(raw, &b); err != nil {
			t.Fatal(err)
		}
		data, codes := b.GetData().GetData(), b.GetMetadata().GetMetadata()[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
		if i == 0 {
			data, codes = change(data, codes)
		}
		next := contracttest.NewBlock(previous, data, codes)
		if !signed {
			next.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES] = b.GetMetadata().GetMetadata()[common.BlockMetadataIndex_SIGNATURES]
		}
		previous = next.GetHeader()
		raw, err := proto.Marshal(next)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw)
	}
	return out
}

// TestImportRefused: whatever an importer changes is refused with a code and text, and the ledger stands where it stood
// before. What the old ledger's own key could change gives another end, which no organisation approves.
func TestImportRefused(t *testing.T) {
	p, at := pilot(t, 12), 5
	for tries := 0; len(blockOf(t, p.Blocks[at]).GetData().GetData()) < 3; { // two valid ones and the invalid one
		if at++; at == len(p.Blocks) {
			if tries++; tries == 20 {
				t.Fatal("no block with two valid transactions was drawn")
			}
			p, at = pilot(t, 12), 5
		}
	}
	omit := func(d [][]byte, c []byte) ([][]byte, []byte) { return d[1:], c[1:] }
	swap := func(d [][]byte, c []byte) ([][]byte, []byte) {
		return append([][]byte{d[1], d[0]}, d[2:]...), append([]byte{c[1], c[0]}, c[2:]...)
	}
	revive := func(d [][]byte, c []byte) ([][]byte, []byte) {
		c = slices.Clone(c)
		c[len(c)-1] = 0
		return d, c
	}
	for _, c := range []struct {
		name   string
		blocks [][]byte
		code   model.Code
	}{
		{"a byte of an operation", flipped(p.Blocks, at), model.CodeImportInvalid},
		{"a block left out", slices.Delete(slices.Clone(p.Blocks), at, at+1), model.CodeImportOrder},
		{"two blocks in another order", swapped(p.Blocks, at), model.CodeImportOrder},
		{"a transaction left out", reseal(t, p, at, omit, false), model.CodeImportInvalid},
		{"two transactions in another order", reseal(t, p, at, swap, false), model.CodeImportInvalid},
		{"a conflict called valid", reseal(t, p, at, revive, false), model.CodeImportInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := taking(p)
			o := quick()
			o.Stall = 300 * time.Millisecond // what is out of order could be in order later, if somebody else imports
			s, err := migrate.Import(t.Context(), l, source(c.blocks), p.Document, o)
			if model.AsError(err).Code != c.code {
				t.Fatalf("%v (%v)", err, s)
			}
			// The good copy goes on from there.
			if s, err := migrate.Import(t.Context(), l, source(p.Blocks), p.Document, quick()); err != nil || s.Chain != p.Chain() {
				t.Fatal(s, err)
			}
		})
	}
	for name, change := range map[string]func([][]byte, []byte) ([][]byte, []byte){"left out by the ledger": omit, "reordered by the ledger": swap} {
		t.Run(name, func(t *testing.T) {
			l := taking(p)
			s, err := migrate.Import(t.Context(), l, source(reseal(t, p, at, change, true)), p.Document, quick())
			if err == nil && s.Chain == p.Chain() {
				t.Fatal("the end is the same")
			}
			var f *migrate.Fault
			if _, err = migrate.Import(t.Context(), l, source(p.Blocks), p.Document, quick()); !errors.As(err, &f) || f.Code != migrate.CodeOther || f.Zh == "" {
				t.Fatalf("another member's look at it: %v", err)
			}
		})
	}
}

func blockOf(t *testing.T, raw []byte) *common.Block {
	t.Helper()
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	return &b
}

func flipped(blocks [][]byte, n int) [][]byte {
	out := slices.Clone(blocks)
	out[n] = slices.Clone(out[n])
	i := strings.Index(string(out[n]), "licence.issue")
	out[n][i] ^= 1
	return out
}

func swapped(blocks [][]byte, n int) [][]byte {
	out := slices.Clone(blocks)
	out[n], out[n-1] = out[n-1], out[n]
	return out
}

// TestImportFaults: what somebody has to see to first is said so.
func TestImportFaults(t *testing.T) {
	p := pilot(t, 4)
	for _, c := range []struct {
		name string
		run  func(t *testing.T) (*migrate.State, error)
		code string
	}{
		{"a channel with a ledger of its own", func(t *testing.T) (*migrate.State, error) {
			l := taking(p)
			l.k.ImportFrom = model.Digest{}
			if err := l.Call(t.Context(), model.FunctionInit, [][]byte{p.Document}); err != nil {
				t.Fatal(err)
			}
			return migrate.Import(t.Context(), l, source(p.Blocks), p.Document, quick())
		}, migrate.CodeBegun},
		{"another pilot", func(t *testing.T) (*migrate.State, error) {
			l, other := taking(p), pilot(t, 1)
			other.Blocks[0] = slices.Clone(other.Blocks[0])
			if _, err := migrate.Import(t.Context(), l, source(p.Blocks), p.Document, quick()); err != nil {
				t.Fatal(err)
			}
			var b common.Block
			_ = proto.Unmarshal(other.Blocks[0], &b)
			b.Header.DataHash = []byte("another")
			other.Blocks[0], _ = proto.Marshal(&b)
			return migrate.Import(t.Context(), l, source(other.Blocks), p.Document, quick())
		}, migrate.CodeOther},
		{"a node that had not caught up", func(t *testing.T) (*migrate.State, error) {
			l := taking(p)
			if _, err := migrate.Import(t.Context(), l, source(p.Blocks), p.Document, quick()); err != nil {
				t.Fatal(err)
			}
			return migrate.Import(t.Context(), l, source(p.Blocks[:3]), p.Document, quick())
		}, migrate.CodeBehind},
		{"nothing moves", func(t *testing.T) (*migrate.State, error) {
			l := taking(p)
			l.faults = func(string) fault { return lost }
			o := quick()
			o.Stall = 50 * time.Millisecond
			return migrate.Import(t.Context(), l, source(p.Blocks), p.Document, o)
		}, migrate.CodeStalled},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := c.run(t)
			var f *migrate.Fault
			if !errors.As(err, &f) || f.Code != c.code || f.En == "" || f.Zh == "" {
				t.Fatalf("%v %+v", err, s)
			}
		})
	}
	l := taking(p)
	l.k.ImportFrom = model.Digest{1}
	if _, err := migrate.Import(t.Context(), l, source(p.Blocks), p.Document, quick()); model.AsError(err).Code != model.CodeImportSource {
		t.Errorf("a contract that agreed to another: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := migrate.Import(ctx, taking(p), source(p.Blocks), p.Document, quick()); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestImportClosed: once closed there is nothing to do, whatever an importer has.
func TestImportClosed(t *testing.T) {
	p := pilot(t, 3)
	l := taking(p)
	if _, err := migrate.Import(t.Context(), l, source(p.Blocks), p.Document, quick()); err != nil {
		t.Fatal(err)
	}
	chain, _ := json.Marshal(p.Chain())
	for _, o := range p.Genesis.Organisations {
		x, err := l.k.Execute(l.state, model.Call{Function: model.FunctionCloseImport, Msp: o.Msp, CommonName: string(o.Nodes[0]),
			Args: [][]byte{fmt.Append(nil, p.Position()), chain[1 : len(chain)-1]}, Time: contracttest.Created.Add(100 * time.Hour)})
		if err != nil {
			if model.AsError(err).Code == model.CodeImportClosed {
				break
			}
			t.Fatal(err)
		}
		for _, w := range x.Writes {
			l.state[w.Key] = w.Value
		}
	}
	s, err := migrate.Import(t.Context(), l, source(p.Blocks[:2]), p.Document, quick())
	if err != nil || !s.Closed || s.Position != p.Position() {
		t.Fatal(s, err)
	}
}

func FuzzDecodeState(f *testing.F) {
	p := contracttest.NewPilot()
	l := taking(p)
	if err := l.Call(context.Background(), model.FunctionInit, [][]byte{p.Document, p.Blocks[0]}); err != nil {
		f.Fatal(err)
	}
	raw, err := l.Evaluate(context.Background(), model.FunctionGet, []byte(model.KindImport), []byte(model.ImportID))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"header":{},"value":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := migrate.DecodeState(raw); err == nil && (s.Source.IsZero() || s.Blocks == 0) {
			t.Fatalf("%+v", s)
		}
	})
}
