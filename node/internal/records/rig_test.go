package records

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// chain makes blocks as the follower gives them, one transaction each, from a real contract.
type chain struct {
	t      testing.TB
	ledger *contracttest.Ledger
	blocks []given
	last   map[string]model.Digest
	leaves uint64
}

// given is a verified block.
type given struct {
	hash     model.Digest
	at       model.Time
	msp      model.MSPID
	writes   []model.StateWrite
	applied  []model.Applied
	leaves   []model.Leaf
	receipts []model.Receipt
}

var now = time.Date(2026, 6, 1, 2, 0, 0, 0, time.UTC)

func newChain(t testing.TB) *chain {
	t.Helper()
	c := &chain{t: t, ledger: contracttest.New(), last: map[string]model.Digest{}}
	// The genesis block once more, on an empty state, for its execution.
	x, err := c.ledger.Contract.Execute(contracttest.State{}, model.Call{
		Function: model.FunctionInit, Args: [][]byte{c.ledger.Document}, Msp: "BeijingMSP", CommonName: "beijing", Time: contracttest.Created})
	if err != nil {
		t.Fatal(err)
	}
	c.add("BeijingMSP", x)
	return c
}

func (c *chain) add(msp model.MSPID, x *model.Execution) {
	n := uint64(len(c.blocks))
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	g := given{hash: sum, at: model.TimeOf(now.Add(time.Duration(n) * time.Second)), msp: msp, writes: x.Writes, applied: x.Applied}
	for i := range x.Applied {
		a := &x.Applied[i]
		key := string(recordKey(a.Op.Kind, a.Op.Record))
		h := a.Effect.Header
		l := model.Leaf{Operation: a.Digest, Kind: a.Op.Kind, ID: a.Op.Record, Version: h.Version, State: h.State,
			Record: model.RecordDigest(a.Op.Kind, a.Op.Record, h), Previous: c.last[key]}
		r := model.Receipt{Operation: a.Op.ID, Digest: a.Digest, Kind: a.Op.Kind, Record: a.Op.Record, Version: h.Version, State: h.State,
			Position: c.leaves, Leaf: l.Hash(), Block: n, Tx: hex.EncodeToString(sum[:]), Time: a.Op.Time, Late: i%5 == 4}
		c.last[key] = r.Leaf
		c.leaves++
		g.leaves, g.receipts = append(g.leaves, l), append(g.receipts, r)
	}
	c.blocks = append(c.blocks, g)
}

// submit makes a block of accepted operations and returns their receipts.
func (c *chain) submit(ops ...model.Operation) []model.Receipt {
	c.t.Helper()
	x, r, err := c.ledger.Submit(ops...)
	if err != nil || len(r.Refused) > 0 {
		c.t.Fatalf("%v %+v", err, r)
	}
	msp, _ := contracttest.Caller(c.ledger.Genesis, ops[0].Agency)
	c.add(msp, x)
	return c.blocks[len(c.blocks)-1].receipts
}

// give hands a block to a writer.
func (g *given) give(w *Writer, number uint64) error {
	if err := w.Block(number, g.hash, g.at, []string{hex.EncodeToString(g.hash[:])}, nil); err != nil {
		return err
	}
	for _, x := range g.writes {
		if err := w.Write("", x.Key, x.Value, 0); err != nil {
			return err
		}
	}
	for i := range g.applied {
		if err := w.Leaf(&g.applied[i], &g.leaves[i], &g.receipts[i], g.msp); err != nil {
			return err
		}
	}
	return nil
}

// catchUp brings a store up to the chain in groups of a size.
func (c *chain) catchUp(s *Store, group int) {
	c.t.Helper()
	for n := s.Height(); n < uint64(len(c.blocks)); {
		for range group {
			if n == uint64(len(c.blocks)) {
				break
			}
			if err := c.blocks[n].give(s.Writer(), n); err != nil {
				c.t.Fatal(err)
			}
			n++
		}
		if err := s.Writer().Commit(); err != nil {
			c.t.Fatal(err)
		}
	}
}

func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	return openStore(t, t.TempDir(), o)
}

// openStore opens a store that is checked in full when the test ends.
func openStore(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.closed {
			return
		}
		if err := s.Check(context.Background()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (c *chain) licence(serial int, change func(*model.Licence)) model.Operation {
	v := contracttest.Licence(c.ledger.Genesis, "bj-scjg", serial)
	if change != nil {
		change(&v)
	}
	return contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, model.NewRecordID("bj-scjg", uint64(serial)), 1, now,
		model.IssueBody{Value: v})
}

func (c *chain) act(t model.Type, serial int, version uint64) model.Operation {
	return contracttest.Op("bj-scjg", t, model.KindLicence, model.NewRecordID("bj-scjg", uint64(serial)), version, now, contracttest.Act("2026-06-01"))
}

func (c *chain) amend(serial int, version uint64, from, to model.Licence) model.Operation {
	to.Identifier = contracttest.Identifier(to, serial, int(version))
	return contracttest.Op("bj-scjg", model.LicenceAmend, model.KindLicence, model.NewRecordID("bj-scjg", uint64(serial)), version, now,
		model.AmendBody{Act: contracttest.Act("2026-06-01").Act, How: model.ChangeOf, Previous: from, Value: to})
}
