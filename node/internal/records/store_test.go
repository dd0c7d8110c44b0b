package records

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestGroupsDoNotMatter: the content is a function of the blocks, however they were grouped, and after
// closing and opening at any point.
func TestGroupsDoNotMatter(t *testing.T) {
	c := newChain(t)
	for i := 1; i <= 20; i++ {
		c.submit(c.licence(2*i-1, nil), c.licence(2*i, nil))
		if i%3 == 0 {
			c.submit(c.act(model.LicenceSuspend, i, 2), c.act(model.LicenceResume, i, 3))
		}
	}
	var want model.Digest
	for _, group := range []int{1, 2, 7, 100} {
		dir := t.TempDir()
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		all := c.blocks
		c.blocks = all[:len(all)/2]
		c.catchUp(s, group)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		c.blocks = all
		s = openStore(t, dir, Options{})
		c.catchUp(s, group)
		got, height, err := s.Digest()
		if err != nil || height != uint64(len(all)) {
			t.Fatalf("height %d, %v", height, err)
		}
		if want.IsZero() {
			want = got
		}
		if got != want {
			t.Errorf("groups of %d blocks give another content", group)
		}
	}
}

func TestReads(t *testing.T) {
	c := newChain(t)
	c.submit(c.licence(1, nil), c.licence(2, nil))
	receipts := c.submit(c.act(model.LicenceSuspend, 1, 2), c.act(model.LicenceResume, 1, 3), c.act(model.LicenceCancel, 2, 2))
	s := newStore(t, Options{})
	c.catchUp(s, 3)
	genesis := uint64(len(c.blocks[0].receipts))

	v, err := s.View(model.KindLicence, "bj-scjg.1")
	if err != nil || v == nil {
		t.Fatal(v, err)
	}
	want, err := model.Canonical(contracttest.Licence(c.ledger.Genesis, "bj-scjg", 1))
	if err != nil {
		t.Fatal(err)
	}
	if v.Version != 3 || !bytes.Equal(v.Public, want) || v.Position != genesis+3 || v.Leaf != receipts[1].Leaf || v.Digest != c.blocks[2].leaves[1].Record {
		t.Errorf("view %+v", v)
	}
	if v, err := s.View(model.KindLicence, "bj-scjg.3"); v != nil || err != nil {
		t.Errorf("absent record: %v %v", v, err)
	}
	newest, err := s.History(model.KindLicence, "bj-scjg.1", 0, 2)
	if err != nil || len(newest) != 2 || newest[0].Version != 3 || newest[1].Version != 2 || newest[0].Msp != "BeijingMSP" {
		t.Errorf("history %+v %v", newest, err)
	}
	if h, err := s.History(model.KindLicence, "bj-scjg.1", 2, 9); err != nil || len(h) != 1 || h[0].Type != model.LicenceIssue {
		t.Errorf("history before 2: %+v %v", h, err)
	}
	snap := s.Snapshot()
	defer snap.Release()
	oldest, err := snap.Versions(model.KindLicence, "bj-scjg.1", int64(newest[1].Position)-1, 9)
	slices.Reverse(newest)
	if err != nil || len(oldest) != 2 || oldest[0].Version != newest[0].Version || oldest[1].Operation != newest[1].Operation {
		t.Errorf("versions %+v %v", oldest, err)
	}
	for _, r := range receipts {
		got, ok, err := s.Receipt(r.Operation)
		if err != nil || !ok || got != r {
			t.Errorf("receipt %+v, want %+v (%v)", got, r, err)
		}
	}
	if _, ok, err := s.Receipt(model.NewOpID()); ok || err != nil {
		t.Errorf("receipt of nothing: %v", err)
	}
	entries, err := s.Entries(genesis+1, 3)
	if err != nil || len(entries) != 3 || entries[0].Receipt.Position != genesis+1 || entries[2].Receipt != receipts[1] {
		t.Errorf("entries %+v %v", entries, err)
	}
	if e, err := s.Entries(s.Position(), 3); err != nil || len(e) != 0 {
		t.Errorf("entries beyond the end: %v %v", e, err)
	}
	page, err := s.List(model.KindAgency, "bj-customs", 2)
	if err != nil || len(page) != 2 || page[0].ID != "bj-dc-scjg" || page[1].ID != "bj-scjg" {
		t.Errorf("page %+v %v", page, err)
	}
	if n, err := s.LastSerial(model.KindLicence, "bj-scjg"); n != 2 || err != nil {
		t.Errorf("last serial %d %v", n, err)
	}
	if n, err := s.LastSerial(model.KindLicence, "tj-scjg"); n != 0 || err != nil {
		t.Errorf("last serial of none: %d %v", n, err)
	}
	if s.BlockHash() != c.blocks[2].hash || s.LedgerTime() != c.blocks[2].at || s.Height() != 3 {
		t.Error("cursor")
	}
	if b, err := snap.Get(model.RegistryVersionKey); err != nil || string(b) != "1" {
		t.Errorf("mirror: %q %v", b, err)
	}
}

// TestClaims: two standing licences of one number are duplicates of each other, until one ends or is
// corrected; every identifier that was ever issued leads to its licence.
func TestClaims(t *testing.T) {
	c := newChain(t)
	same := func(l *model.Licence) { l.Number = "SAME" }
	var changed []model.RecordID
	s := newStore(t, Options{Changed: func(ids []model.RecordID) { changed = append(changed, ids...) }})
	step := func(ops ...model.Operation) {
		t.Helper()
		changed = nil
		c.submit(ops...)
		c.catchUp(s, 1)
	}
	duplicates := func() (out []model.RecordID) {
		t.Helper()
		for _, id := range []model.RecordID{"bj-scjg.1", "bj-scjg.2", "bj-scjg.3"} {
			v, err := s.View(model.KindLicence, id)
			if err != nil {
				t.Fatal(err)
			}
			if v != nil && v.Duplicate {
				out = append(out, id)
			}
		}
		return out
	}
	find := func(q model.Query) []model.RecordID {
		t.Helper()
		snap := s.Snapshot()
		defer snap.Release()
		ids, _, err := snap.Find(&q)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	number := model.Query{Number: "SAME", Type: contracttest.BusinessLicence}
	step(c.licence(1, same))
	if d := duplicates(); d != nil {
		t.Fatalf("one alone is a duplicate: %v", d)
	}
	step(c.licence(2, same))
	if d := duplicates(); len(d) != 2 || !slices.Contains(changed, "bj-scjg.1") {
		t.Fatalf("duplicates %v, told of %v", d, changed)
	}
	if ids := find(number); !slices.Equal(ids, []model.RecordID{"bj-scjg.2", "bj-scjg.1"}) {
		t.Fatalf("found %v", ids)
	}
	step(c.act(model.LicenceCancel, 1, 2))
	if d := duplicates(); d != nil || !slices.Contains(changed, "bj-scjg.2") {
		t.Fatalf("duplicates %v, told of %v", d, changed)
	}
	if ids := find(number); !slices.Equal(ids, []model.RecordID{"bj-scjg.2", "bj-scjg.1"}) {
		t.Fatalf("found %v", ids)
	}
	step(c.licence(3, same))
	if d := duplicates(); len(d) != 2 {
		t.Fatalf("duplicates %v", d)
	}
	was := contracttest.Licence(c.ledger.Genesis, "bj-scjg", 3)
	was.Number = "SAME"
	is := was
	is.Number = "OTHER"
	step(c.amend(3, 2, was, is))
	if d := duplicates(); d != nil {
		t.Fatalf("duplicates after the correction: %v", d)
	}
	for version := 1; version <= 2; version++ {
		q := model.Query{Identifier: contracttest.Identifier(was, 3, version)}
		if ids := find(q); !slices.Equal(ids, []model.RecordID{"bj-scjg.3"}) {
			t.Errorf("identifier of version %d finds %v", version, ids)
		}
	}
	for _, x := range []struct {
		number string
		want   bool
	}{{"SAME", true}, {"OTHER", true}, {"NEVER", false}} {
		if got, err := s.Claimed(contracttest.Identifier(was, 99, 1), contracttest.BusinessLicence, x.number); err != nil || got != x.want {
			t.Errorf("claimed %s: %v %v", x.number, got, err)
		}
	}
}

// TestClaimedForEver: an identifier and a file's digest that were ever stated stay claimed, whatever became
// of the licence; a number only until the day on which the licence ends.
func TestClaimedForEver(t *testing.T) {
	c := newChain(t)
	s := newStore(t, Options{})
	sum := func(x string) model.Digest { return model.DigestOf([]byte(x)) }
	filed := func(l *model.Licence) { l.File = &model.FileDigest{Sealed: true, SHA256: sum("sha"), SM3: sum("sm3")} }
	claimed := func(what string, want bool, id model.LicenceID, number string) {
		t.Helper()
		if got, err := s.Claimed(id, contracttest.BusinessLicence, number); err != nil || got != want {
			t.Errorf("%s: %v %v", what, got, err)
		}
	}
	was := contracttest.Licence(c.ledger.Genesis, "bj-scjg", 1)
	filed(&was)
	is := was
	is.Number, is.File = "NEXT", nil
	later := contracttest.Licence(c.ledger.Genesis, "bj-scjg", 2)
	planned := later
	planned.Number = "PLANNED"
	planned.Identifier = contracttest.Identifier(planned, 2, 2)
	tomorrow := contracttest.Act("2026-06-02")
	ahead := func(t model.Type, serial int, body any) model.Operation {
		return contracttest.Op("bj-scjg", t, model.KindLicence, model.NewRecordID("bj-scjg", uint64(serial)), 2, now, body)
	}
	c.submit(c.licence(1, filed), c.licence(2, nil), c.licence(3, nil))
	c.submit(c.amend(1, 2, was, is), c.act(model.LicenceCancel, 1, 3), ahead(model.LicenceRevoke, 3, tomorrow),
		ahead(model.LicenceAmend, 2, model.AmendBody{Act: tomorrow.Act, How: model.ChangeOf, Previous: later, Value: planned}))
	c.catchUp(s, 9)
	const free = "FREE"
	unused := contracttest.Identifier(was, 99, 1)
	claimed("nothing", false, unused, free)
	claimed("first identifier of an ended licence", true, was.Identifier, free)
	claimed("its last", true, contracttest.Identifier(was, 1, 2), free)
	claimed("its first number", false, unused, was.Number)
	claimed("its last number", false, unused, "NEXT")
	claimed("the number of one that ends tomorrow", true, unused, contracttest.Licence(c.ledger.Genesis, "bj-scjg", 3).Number)
	claimed("a number changed from tomorrow on", true, unused, later.Number)
	claimed("the number that it changes to", true, unused, "PLANNED")
	for _, x := range []struct {
		sha256, sm3 string
		want        bool
	}{{"sha", "x", true}, {"x", "sm3", true}, {"sha", "sm3", true}, {"x", "y", false}} {
		if got, err := s.ClaimedFile(sum(x.sha256), sum(x.sm3)); err != nil || got != x.want {
			t.Errorf("file %s %s: %v %v", x.sha256, x.sm3, got, err)
		}
	}
	c.submit(c.act(model.LicenceCancel, 3, 3))
	c.catchUp(s, 1)
	claimed("once the end has come", false, unused, contracttest.Licence(c.ledger.Genesis, "bj-scjg", 3).Number)
}

// TestChangedBeforeAnyReader: nobody can take a snapshot between being told of a change and its being there.
func TestChangedBeforeAnyReader(t *testing.T) {
	c := newChain(t)
	var s *Store
	calls := 0
	s = newStore(t, Options{Changed: func([]model.RecordID) {
		calls++
		if s.mu.TryLock() {
			s.mu.Unlock()
			t.Error("a reader could take the snapshot without the change")
		}
	}})
	c.submit(c.licence(1, nil))
	c.submit(c.act(model.LicenceSuspend, 1, 2))
	c.catchUp(s, 1)
	if calls != 2 {
		t.Errorf("told %d times", calls)
	}
}

// TestFlood: however many licences claim one number, the list stays short and they stay duplicates.
func TestFlood(t *testing.T) {
	c := newChain(t)
	s := newStore(t, Options{})
	var ops []model.Operation
	for i := 1; i <= 100; i++ {
		ops = append(ops, c.licence(i, func(l *model.Licence) { l.Number = "ONE" }))
	}
	c.submit(ops...)
	c.submit(c.act(model.LicenceCancel, 1, 2), c.act(model.LicenceCancel, 50, 2))
	c.catchUp(s, 1)
	for _, x := range []struct {
		id   model.RecordID
		want bool
	}{{"bj-scjg.1", false}, {"bj-scjg.2", true}, {"bj-scjg.100", true}} {
		if v, err := s.View(model.KindLicence, x.id); err != nil || v.Duplicate != x.want {
			t.Errorf("%s: duplicate %v (%v)", x.id, v.Duplicate, err)
		}
	}
	b, err := s.db.Get(numberKey(numberClaim(contracttest.BusinessLicence, "ONE")), nil)
	if err != nil || len(b) > maxClaims*16 {
		t.Errorf("%d bytes of claims (%v)", len(b), err)
	}
}

// TestKeyWindows: a key holds from the leaf that listed it to the leaf that retired it, also when the
// latter is in the same block as what it signed.
func TestKeyWindows(t *testing.T) {
	c := newChain(t)
	s := newStore(t, Options{})
	next := model.Key{ID: "bj-scjg-2", Alg: "ES256", Public: contracttest.Point(77)}
	rotate := contracttest.Op("bj-scjg", model.RotateKey, model.KindAgency, "bj-scjg", 2, now,
		model.RotateBody{New: next, Retire: "bj-scjg-1", Proof: base64.RawURLEncoding.EncodeToString(make([]byte, 64))})
	receipts := c.submit(c.licence(1, nil), rotate, c.licence(2, func(l *model.Licence) { l.Signature.Key = "bj-scjg-2" }))
	c.catchUp(s, 1)
	for _, x := range []struct {
		key string
		at  uint64
		ok  bool
	}{
		{"bj-scjg-1", receipts[0].Position, true}, {"bj-scjg-1", receipts[1].Position, false}, {"bj-scjg-1", receipts[2].Position, false},
		{"bj-scjg-2", receipts[0].Position, false}, {"bj-scjg-2", receipts[1].Position, true}, {"bj-scjg-2", receipts[2].Position, true},
		{"bj-scjg-1", 0, false}, {"none", receipts[0].Position, false},
	} {
		alg, public, ok, err := s.KeyAt("bj-scjg", x.key, x.at)
		if err != nil || ok != x.ok || (ok && (alg != "ES256" || len(public) != 65)) {
			t.Errorf("key %s at %d: %v %s %d bytes (%v)", x.key, x.at, ok, alg, len(public), err)
		}
	}
	if a, err := s.Agency("bj-scjg"); err != nil || len(a.Keys) != 2 {
		t.Errorf("agency %+v %v", a, err)
	}
}

// TestRegistryCache: a decoded entry is shared until it changes, and never older than the reader's block.
func TestRegistryCache(t *testing.T) {
	c := newChain(t)
	s := newStore(t, Options{})
	if a, err := s.Agency("bj-scjg"); a != nil || err != nil {
		t.Fatalf("agency of an empty store: %v %v", a, err)
	}
	c.catchUp(s, 1)
	first, err := s.Agency("bj-scjg")
	if err != nil || first == nil {
		t.Fatal(err)
	}
	if again, _ := s.Agency("bj-scjg"); again != first {
		t.Error("decoded twice")
	}
	c.submit(contracttest.Op("bj-scjg", model.SetEndpoint, model.KindAgency, "bj-scjg", 2, now, model.EndpointBody{Endpoint: "https://bj.example"}))
	c.catchUp(s, 1)
	if a, err := s.Agency("bj-scjg"); err != nil || a.Endpoint != "https://bj.example" {
		t.Errorf("agency %+v %v", a, err)
	}
	if l, err := s.LicenceType(contracttest.BusinessLicence); err != nil || l == nil {
		t.Errorf("type %v %v", l, err)
	}
	if o, err := s.Organisation("HebeiMSP"); err != nil || o == nil {
		t.Errorf("organisation %v %v", o, err)
	}
	if p, err := s.Policy(); err != nil || p.Level != 1 {
		t.Errorf("policy %v %v", p, err)
	}
}

// TestReadersAndWriter: readers see whole blocks only, and their snapshots do not move.
func TestReadersAndWriter(t *testing.T) {
	c := newChain(t)
	for i := range 40 {
		c.submit(c.licence(3*i+1, nil), c.licence(3*i+2, nil), c.licence(3*i+3, nil))
	}
	genesis := uint64(len(c.blocks[0].receipts))
	s := newStore(t, Options{})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				snap := s.Snapshot()
				height, position := snap.Height(), snap.Position()
				if height > 0 && position != genesis+3*(height-1) {
					t.Errorf("height %d with %d leaves", height, position)
				}
				if e, err := snap.Entries(0, 1000); err != nil || uint64(len(e)) != position {
					t.Errorf("%d entries at position %d (%v)", len(e), position, err)
				}
				snap.Release()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for len(c.blocks) > int(s.Height()) {
		_, more := s.Grown()
		n := s.Height()
		if err := c.blocks[n].give(s.Writer(), n); err != nil {
			t.Fatal(err)
		}
		if err := s.Writer().Commit(); err != nil {
			t.Fatal(err)
		}
		<-more
	}
	close(done)
	readers.Wait()
}

// TestWriterErrors: what does not follow is refused, nothing of it is seen, and after Reset the right block
// goes in.
func TestWriterErrors(t *testing.T) {
	c := newChain(t)
	c.submit(c.licence(1, nil))
	s := newStore(t, Options{})
	w := s.Writer()
	if err := c.blocks[1].give(w, 1); err == nil {
		t.Error("a block without its predecessor was taken")
	}
	if err := w.Commit(); err == nil || s.Height() != 0 {
		t.Errorf("committed after an error: %v", err)
	}
	w.Reset()
	bad := c.blocks[0]
	bad.receipts = slices.Clone(bad.receipts)
	bad.receipts[2].Position = 9
	if err := bad.give(w, 0); err == nil {
		t.Error("a leaf at a wrong position was taken")
	}
	if err := w.Commit(); err == nil || s.Position() != 0 {
		t.Errorf("committed after an error: %v", err)
	}
	w.Reset()
	c.catchUp(s, 5)
	if s.Height() != 2 {
		t.Errorf("height %d", s.Height())
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.db.Put([]byte(spaceFormat), []byte{99}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrFormat) {
		t.Errorf("another format: %v", err)
	}
	if _, err := s.View(model.KindPolicy, model.PolicyID); err == nil {
		t.Error("a closed store answers")
	}
}

// TestCheckFinds: a change of any single value is noticed by Check, or by Digest where the value is one that
// nothing else in the store speaks of.
func TestCheckFinds(t *testing.T) {
	c := newChain(t)
	c.submit(c.licence(1, nil), c.licence(2, nil), c.act(model.LicenceSuspend, 1, 2))
	s := newStore(t, Options{})
	c.catchUp(s, 1)
	want, _, err := s.Digest()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{}
	it := s.db.NewIterator(nil, nil)
	for it.Next() {
		values[string(it.Key())] = bytes.Clone(it.Value())
	}
	it.Release()
	refresh := func() {
		t.Helper()
		if err := s.publish(s.cursor(), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	delete(values, spaceSynced) // not content
	for key, value := range values {
		for _, at := range []int{0, len(value) / 2, len(value) - 1} {
			bad := bytes.Clone(value)
			bad[at] ^= 1
			if err := s.db.Put([]byte(key), bad, nil); err != nil {
				t.Fatal(err)
			}
			refresh()
			if err := s.Check(context.Background()); err != nil {
				found++
			} else if got, _, err := s.Digest(); err != nil || got == want {
				t.Errorf("key %q byte %d: unnoticed (%v)", key, at, err)
			}
		}
		if err := s.db.Put([]byte(key), value, nil); err != nil {
			t.Fatal(err)
		}
	}
	if found < len(values) {
		t.Errorf("Check found %d changes of %d", found, 3*len(values))
	}
	refresh()
	for at := int64(0); at < s.ops.end; at += 97 {
		var was [1]byte
		if _, err := s.ops.file.ReadAt(was[:], at); err != nil {
			t.Fatal(err)
		}
		flip := func(b byte) {
			if _, err := s.ops.file.WriteAt([]byte{b}, at); err != nil {
				t.Fatal(err)
			}
		}
		flip(was[0] ^ 1)
		if err := s.Check(context.Background()); err == nil {
			t.Errorf("byte %d of the operations: unnoticed", at)
		}
		flip(was[0])
	}
}
