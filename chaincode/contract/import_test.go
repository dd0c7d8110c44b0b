package contract_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// moved is when the new ledger takes the pilot over: long after, so that the clock of it is nobody's.
var moved = contracttest.Created.AddDate(1, 6, 0)

// A mover is a new ledger that takes a pilot over, and what it has applied.
type mover struct {
	*testing.T
	contract *contract.Contract
	state    contracttest.State
	applied  []model.Applied
}

func (m *mover) call(msp model.MSPID, cn, function string, args ...[]byte) error {
	m.Helper()
	x, err := m.contract.Execute(m.state, model.Call{Function: function, Args: args, Msp: msp, CommonName: cn, Time: moved})
	if err != nil {
		return err
	}
	for _, w := range x.Writes {
		m.state[w.Key] = w.Value
	}
	m.applied = append(m.applied, x.Applied...)
	return nil
}

// imports calls Import and says with which code it failed.
func (m *mover) imports(blocks ...[]byte) model.Code {
	m.Helper()
	return codeOf(m.call("BeijingMSP", "beijing", model.FunctionImport, blocks...))
}

func (m *mover) closes(msp model.MSPID, cn string, position uint64, chain model.Digest) model.Code {
	m.Helper()
	return codeOf(m.call(msp, cn, model.FunctionCloseImport, fmt.Append(nil, position), []byte(chain.String())))
}

// status is what Get answers of the import.
func (m *mover) status() (model.StateEntry, model.Import) {
	m.Helper()
	raw, err := contract.Get(m.state, model.KindImport, model.ImportID)
	if err != nil {
		m.Fatal(err)
	}
	var e model.StateEntry
	var s model.Import
	if err := json.Unmarshal(raw, &e); err != nil {
		m.Fatal(err)
	}
	if err := json.Unmarshal(e.Value, &s); err != nil {
		m.Fatal(err)
	}
	return e, s
}

func codeOf(err error) model.Code {
	if err == nil {
		return ""
	}
	return model.AsError(err).Code
}

// move opens the import of a pilot.
func move(t *testing.T, p *contracttest.Pilot) *mover {
	t.Helper()
	c := *p.Contract
	c.ImportFrom = p.Source()
	m := &mover{t, &c, contracttest.State{}, nil}
	if err := m.call("HebeiMSP", "hebei", model.FunctionInit, p.Document, p.Blocks[0]); err != nil {
		t.Fatal(err)
	}
	return m
}

// issues puts a transaction with licences of Beijing's issuer into the pilot's next block.
func issues(t *testing.T, p *contracttest.Pilot, from, n int, when time.Time) {
	t.Helper()
	var args [][]byte
	for i := from; i < from+n; i++ {
		op := contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, model.NewRecordID("bj-scjg", uint64(i)), 1, when,
			model.IssueBody{Value: contracttest.Licence(p.Genesis, "bj-scjg", i)})
		args = append(args, op.Encode())
	}
	if x, err := p.Call("BeijingMSP", "beijing", when, model.FunctionApply, model.Pack(args)...); err != nil || len(x.Applied) != n {
		t.Fatal(err, string(x.Response))
	}
}

// history is a pilot with a few blocks: one with several transactions, one that was not valid, a refused one
// that stands in a block, and a question that somebody had ordered.
func history(t *testing.T) *contracttest.Pilot {
	t.Helper()
	p := contracttest.NewPilot()
	when := contracttest.Created.Add(time.Hour)
	issues(t, p, 1, 3, when)
	issues(t, p, 4, 2, when.Add(time.Minute))
	p.Cut()
	again := issue(p.Ledger, "bj-scjg", 1)
	again.Time = model.TimeOf(when)
	if x, err := p.Call("BeijingMSP", "beijing", when, model.FunctionApply, again.Encode()); err != nil || len(x.Applied) != 0 {
		t.Fatal("nothing was refused", err)
	}
	invalid := issue(p.Ledger, "bj-scjg", 77)
	p.Put(contracttest.Envelope(contracttest.AuthorityOf("BeijingMSP").Identity("beijing"), "jjj", when, []byte(`{"accepted":1}`),
		[]byte("Apply"), invalid.Encode()), peer.TxValidationCode_MVCC_READ_CONFLICT)
	p.Put([]byte("no transaction at all"), peer.TxValidationCode_BAD_PAYLOAD)
	p.Put(contracttest.Envelope(contracttest.AuthorityOf("TianjinMSP").Identity("tianjin"), "jjj", when, []byte(`{}`),
		[]byte("Get"), []byte("licence"), []byte("bj-scjg.1")), peer.TxValidationCode_VALID)
	p.Cut()
	op := contracttest.Op("bj-scjg", model.LicenceCancel, model.KindLicence, "bj-scjg.2", 2, when.AddDate(0, 1, 0), contracttest.Act("2026-02-01"))
	if _, err := p.Call("BeijingMSP", "bj-scjg", when.AddDate(0, 1, 0), model.FunctionApply, op.Encode()); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	return p
}

// TestImport takes a pilot over block by block and at once: the same operations in the same order on the word
// of the same callers, and the same state.
func TestImport(t *testing.T) {
	p := history(t)
	for name, groups := range map[string][][][]byte{
		"one by one": {{p.Blocks[1]}, {p.Blocks[2]}, {p.Blocks[3]}, {p.Blocks[4]}},
		"at once":    {p.Blocks[1:]},
		"in groups":  {p.Blocks[1:3], p.Blocks[3:]},
	} {
		t.Run(name, func(t *testing.T) {
			m := move(t, p)
			if e, s := m.status(); e.Header.Exists() || s.Position != 12 || s.Blocks != 1 || s.Last != p.Source() {
				t.Errorf("at the beginning: %+v", s)
			}
			for _, blocks := range groups {
				if code := m.imports(blocks...); code != "" {
					t.Fatal(code)
				}
			}
			if _, s := m.status(); s.Position != p.Position() || s.Chain != p.Chain() || s.Blocks != uint64(len(p.Blocks)) {
				t.Fatalf("%+v, want position %d and chain %s", s, p.Position(), p.Chain())
			}
			same(t, m.applied, p.Applied)
			for i := range m.applied[12:] { // what is not of genesis keeps its caller and time
				if a, b := m.applied[12+i], p.Applied[12+i]; a.Msp != b.Msp || a.At != b.At || a.Msp != "BeijingMSP" {
					t.Fatalf("%s: %s at %s, was %s at %s", a.Op.Record, a.Msp, a.At, b.Msp, b.At)
				}
			}
			next := issue(p.Ledger, "bj-scjg", 9)
			next.Time = model.TimeOf(moved)
			if err := m.call("BeijingMSP", "beijing", model.FunctionApply, next.Encode()); codeOf(err) != model.CodeImportOpen {
				t.Errorf("an operation while the import is open: %v", err)
			}
			position, chain := p.Position(), p.Chain()
			for i, o := range []struct {
				msp model.MSPID
				cn  string
			}{{"BeijingMSP", "beijing"}, {"CustomsMSP", "customs"}, {"HebeiMSP", "hebei"}} {
				if e, s := m.status(); e.Header.Exists() || len(s.Approvals) != i {
					t.Fatalf("after %d approvals: %+v %+v", i, e.Header, s)
				}
				if code := m.closes(o.msp, o.cn, position, chain); code != "" {
					t.Fatal(code)
				}
			}
			if e, s := m.status(); e.Header.State != model.Imported || e.Header.Version != 1 || e.Header.Value != model.DigestOf(e.Value) || len(s.Approvals) != 3 {
				t.Fatalf("closed: %+v %+v", e.Header, s)
			}
			last := m.applied[len(m.applied)-1]
			if uint64(len(m.applied)) != position+1 || last.Op.Type != model.ImportClosed || last.Op.Agency != "" || last.Msp != "HebeiMSP" {
				t.Fatalf("%d operations, last %+v", len(m.applied), last.Op)
			}
			if err := m.call("BeijingMSP", "beijing", model.FunctionApply, next.Encode()); err != nil {
				t.Errorf("the first operation of its own: %v", err)
			}
			if code := m.imports(p.Blocks[1]); code != model.CodeImportClosed {
				t.Errorf("importing afterwards: %q", code)
			}
			if code := m.closes("TianjinMSP", "tianjin", position, chain); code != model.CodeImportClosed {
				t.Errorf("closing again: %q", code)
			}
			left := maps.Clone(m.state)
			for _, k := range []string{model.ImportBlockKey, model.StateKey(model.KindImport, model.ImportID)} {
				delete(left, k)
			}
			issuesAt(t, p.Contract, p.State.Clone(), next, left)
		})
	}
}

// issuesAt applies an operation to the pilot's state, too, and compares: beside the import's own keys nothing
// tells one ledger from the other.
func issuesAt(t *testing.T, c *contract.Contract, state contracttest.State, op model.Operation, want contracttest.State) {
	t.Helper()
	x, err := c.Execute(state, model.Call{Function: model.FunctionApply, Args: [][]byte{op.Encode()}, Msp: "BeijingMSP", CommonName: "beijing", Time: moved})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range x.Writes {
		state[w.Key] = w.Value
	}
	if !reflect.DeepEqual(state, want) {
		t.Error("the states differ")
	}
}

// same compares operations and what they did: the leaves follow from these.
func same(t *testing.T, got, want []model.Applied) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d operations, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Digest != want[i].Digest || got[i].Effect.Header != want[i].Effect.Header || !bytes.Equal(got[i].Raw, want[i].Raw) {
			t.Fatalf("operation %d differs", i)
		}
	}
}

// edit changes a block's decoded form; sign says whether the ledger signs the outcome anew.
func edit(t *testing.T, raw []byte, change func(*common.Block)) []byte {
	t.Helper()
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	change(&b)
	out, err := proto.Marshal(&b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// rewrite makes another block in the place of block 2, with these transactions, signed by the ledger itself:
// what even the old ledger's own key cannot bring in.
func rewrite(p *contracttest.Pilot, envelopes ...[]byte) []byte {
	b, err := proto.Marshal(contracttest.NewBlock(p.Headers[1], envelopes, make([]byte, len(envelopes))))
	if err != nil {
		panic(err)
	}
	return b
}

// TestImportAttacks: what an importer could try with the second block of the pilot. Nothing of it is written,
// and the right block goes on afterwards.
func TestImportAttacks(t *testing.T) {
	p := history(t)
	when := contracttest.Created.Add(time.Hour)
	op := issue(p.Ledger, "bj-scjg", 1)
	op.Time = model.TimeOf(when)
	args := [][]byte{[]byte("Apply"), op.Encode()}
	answer := []byte(`{"accepted":1}`)
	beijing := contracttest.AuthorityOf("BeijingMSP").Identity("beijing")
	impostor := contracttest.NewAuthority("BeijingMSP") // the same name, another key
	stranger := contracttest.NewAuthority("OtherMSP")
	envelope := func(change func(*common.Envelope)) []byte {
		var env common.Envelope
		if err := proto.Unmarshal(contracttest.Envelope(beijing, "jjj", when, answer, args...), &env); err != nil {
			t.Fatal(err)
		}
		change(&env)
		b, err := proto.Marshal(&env)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	late := issue(p.Ledger, "bj-scjg", 1)
	late.Time = model.TimeOf(when.Add(61 * time.Second))
	codes := int(common.BlockMetadataIndex_TRANSACTIONS_FILTER)
	for name, tt := range map[string]struct {
		blocks [][]byte
		want   model.Code
	}{
		"no block":                   {nil, model.CodeTooMany},
		"not a block":                {[][]byte{[]byte("block")}, model.CodeImportInvalid},
		"an empty block":             {[][]byte{{}}, model.CodeImportOrder},
		"the one before":             {[][]byte{p.Blocks[1]}, model.CodeImportOrder},
		"block 0":                    {[][]byte{p.Blocks[0]}, model.CodeImportOrder},
		"the one after":              {[][]byte{p.Blocks[3]}, model.CodeImportOrder},
		"one left out":               {[][]byte{p.Blocks[2], p.Blocks[4]}, model.CodeImportOrder},
		"one twice":                  {[][]byte{p.Blocks[2], p.Blocks[2]}, model.CodeImportOrder},
		"in another order":           {[][]byte{p.Blocks[3], p.Blocks[2]}, model.CodeImportOrder},
		"a good one and a bad one":   {[][]byte{p.Blocks[2], []byte("block")}, model.CodeImportInvalid},
		"another number":             {[][]byte{edit(t, p.Blocks[3], func(b *common.Block) { b.Header.Number = 2 })}, model.CodeImportInvalid},
		"another predecessor":        {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) { b.Header.PreviousHash[0] ^= 1 })}, model.CodeImportInvalid},
		"a transaction left out":     {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) { b.Data.Data = b.Data.Data[:1] })}, model.CodeImportInvalid},
		"transactions reordered":     {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) { d := b.Data.Data; d[0], d[1] = d[1], d[0] })}, model.CodeImportInvalid},
		"an argument altered":        {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) { d := b.Data.Data[0]; d[len(d)/2] ^= 1 })}, model.CodeImportInvalid},
		"a valid one called invalid": {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) { b.Metadata.Metadata[codes][0] = 11 })}, model.CodeImportInvalid},
		"codes left out":             {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) { b.Metadata.Metadata[codes] = nil })}, model.CodeImportInvalid},
		"no metadata":                {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) { b.Metadata = nil })}, model.CodeImportInvalid},
		"no signature":               {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) { b.Metadata.Metadata[0] = nil })}, model.CodeImportInvalid},
		"signed by a member": {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) {
			contracttest.SignBlock(b, beijing, b.Metadata.Metadata[codes])
		})}, model.CodeImportInvalid},
		"signed by an impostor of the ledger": {[][]byte{edit(t, p.Blocks[2], func(b *common.Block) {
			contracttest.SignBlock(b, contracttest.NewAuthority(contracttest.LedgerMSP).Identity("ledger"), b.Metadata.Metadata[codes])
		})}, model.CodeImportInvalid},
		// From here on the old ledger itself is in league: the members' own signatures still hold.
		"not a transaction":       {[][]byte{rewrite(p, []byte("x"))}, model.CodeImportInvalid},
		"forged signature":        {[][]byte{rewrite(p, envelope(func(e *common.Envelope) { e.Signature[10] ^= 1 }))}, model.CodeImportInvalid},
		"no creator's signature":  {[][]byte{rewrite(p, envelope(func(e *common.Envelope) { e.Signature = nil }))}, model.CodeImportInvalid},
		"altered after signing":   {[][]byte{rewrite(p, envelope(func(e *common.Envelope) { e.Payload[len(e.Payload)-3] ^= 1 }))}, model.CodeImportInvalid},
		"another authority":       {[][]byte{rewrite(p, contracttest.Envelope(impostor.Identity("beijing"), "jjj", when, answer, args...))}, model.CodeImportInvalid},
		"no member":               {[][]byte{rewrite(p, contracttest.Envelope(stranger.Identity("beijing"), "jjj", when, answer, args...))}, model.CodeImportInvalid},
		"another channel":         {[][]byte{rewrite(p, contracttest.Envelope(beijing, "kkk", when, answer, args...))}, model.CodeImportInvalid},
		"by another member":       {[][]byte{rewrite(p, contracttest.Envelope(contracttest.AuthorityOf("TianjinMSP").Identity("beijing"), "jjj", when, answer, args...))}, model.CodeImportDiffers},
		"by another node":         {[][]byte{rewrite(p, contracttest.Envelope(contracttest.AuthorityOf("BeijingMSP").Identity("other"), "jjj", when, answer, args...))}, model.CodeImportDiffers},
		"another answer":          {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, []byte(`{"accepted":2}`), args...))}, model.CodeImportDiffers},
		"no answer":               {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, nil, args...))}, model.CodeImportDiffers},
		"refused there, good":     {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, []byte(`{"accepted":0,"refused":[{"code":"not_owner","index":0}]}`), args...))}, model.CodeImportDiffers},
		"too late for its time":   {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, answer, args[0], late.Encode()))}, model.CodeImportDiffers},
		"an operation twice":      {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, answer, args...), contracttest.Envelope(beijing, "jjj", when, answer, args...))}, model.CodeImportDiffers},
		"an unknown function":     {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, answer, []byte("Other")))}, model.CodeImportDiffers},
		"an import within":        {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, answer, []byte("Import"), p.Blocks[1]))}, model.CodeImportDiffers},
		"no function":             {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, answer))}, model.CodeImportInvalid},
		"another genesis":         {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, answer, []byte("Init"), otherDocument(t)))}, model.CodeImportSource},
		"it had an import itself": {[][]byte{rewrite(p, contracttest.Envelope(beijing, "jjj", when, answer, []byte("Init"), p.Document, p.Blocks[0]))}, model.CodeImportSource},
	} {
		t.Run(name, func(t *testing.T) {
			m := move(t, p)
			if code := m.imports(p.Blocks[1]); code != "" {
				t.Fatal(code)
			}
			before := m.state.Clone()
			if code := m.imports(tt.blocks...); code != tt.want {
				t.Fatalf("%q, want %q", code, tt.want)
			}
			if !reflect.DeepEqual(before, m.state) {
				t.Fatal("something was written")
			}
			if code := m.imports(p.Blocks[2:]...); code != "" {
				t.Fatalf("the right blocks afterwards: %q", code)
			}
		})
	}
}

func otherDocument(t *testing.T) []byte {
	t.Helper()
	g := contracttest.Genesis()
	g.Policy.Approvals = 2
	doc, err := model.Canonical(g)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestImportRevoked: a certificate that block 0 lists as revoked speaks for nobody.
func TestImportRevoked(t *testing.T) {
	beijing := contracttest.AuthorityOf("BeijingMSP")
	p := contracttest.NewPilotOf(contracttest.Genesis(), map[model.MSPID][]byte{"BeijingMSP": beijing.Revoke(beijing.Identity("lost"))})
	m := move(t, p)
	if code := m.imports(p.Blocks[1]); code != "" {
		t.Fatal(code)
	}
	if code := m.imports(rewrite(p, contracttest.Envelope(beijing.Identity("lost"), "jjj", moved, []byte(`{}`), []byte("Get")))); code != model.CodeImportInvalid {
		t.Errorf("%q", code)
	}
	if code := m.imports(rewrite(p, contracttest.Envelope(beijing.Identity("beijing"), "jjj", moved, []byte(`{}`), []byte("Get")))); code != "" {
		t.Errorf("another of the organisation: %q", code)
	}
}

// TestImportSource: Init takes over the ledger that the organisation agreed to and no other.
func TestImportSource(t *testing.T) {
	p, other := contracttest.NewPilot(), contracttest.NewPilotOf(func() *model.GenesisDocument {
		g := contracttest.Genesis()
		g.Channel = "kkk"
		return g
	}(), nil)
	altered := bytes.Clone(p.Blocks[0])
	altered[len(altered)/2] ^= 1
	for name, tt := range map[string]struct {
		from   model.Digest
		blocks [][]byte
		want   model.Code
	}{
		"the one":            {p.Source(), [][]byte{p.Blocks[0]}, ""},
		"none agreed to":     {model.Digest{}, [][]byte{p.Blocks[0]}, model.CodeImportSource},
		"none given":         {p.Source(), nil, model.CodeImportSource},
		"another":            {other.Source(), [][]byte{p.Blocks[0]}, model.CodeImportSource},
		"another channel":    {other.Source(), [][]byte{other.Blocks[0]}, model.CodeImportSource},
		"altered":            {p.Source(), [][]byte{altered}, model.CodeImportSource},
		"another block":      {p.Source(), [][]byte{p.Blocks[1]}, model.CodeImportSource},
		"not a block":        {p.Source(), [][]byte{[]byte("x")}, model.CodeImportSource},
		"empty":              {p.Source(), [][]byte{{}}, model.CodeImportSource},
		"two":                {p.Source(), [][]byte{p.Blocks[0], p.Blocks[0]}, model.CodeMissingField},
		"a header alone":     {p.Source(), [][]byte{edit(t, p.Blocks[0], func(b *common.Block) { b.Data.Data = nil })}, model.CodeImportSource},
		"a data hash of its": {p.Source(), [][]byte{edit(t, p.Blocks[0], func(b *common.Block) { b.Data.Data[0] = append(b.Data.Data[0], 0) })}, model.CodeImportSource},
	} {
		c := *p.Contract
		c.ImportFrom = tt.from
		m := &mover{t, &c, contracttest.State{}, nil}
		if code := codeOf(m.call("BeijingMSP", "beijing", model.FunctionInit, append([][]byte{p.Document}, tt.blocks...)...)); code != tt.want {
			t.Errorf("%s: %q, want %q", name, code, tt.want)
		}
		if tt.want != "" && len(m.state) > 0 {
			t.Errorf("%s: something was written", name)
		}
	}
	m := &mover{t, p.Contract, contracttest.State{}, nil}
	if code := m.imports(p.Blocks[1]); code != model.CodeImportClosed {
		t.Errorf("before Init: %q", code)
	}
	m.state = p.State.Clone()
	if code := m.imports(p.Blocks[1]); code != model.CodeImportClosed {
		t.Errorf("where none was opened: %q", code)
	}
	if _, err := contract.Get(p.State, model.KindImport, model.ImportID); codeOf(err) != model.CodeNotFound {
		t.Errorf("how far an import is that there is none of: %v", err)
	}
}

// TestImportClose: who may close an import, on what.
func TestImportClose(t *testing.T) {
	p := history(t)
	position, chain := p.Position(), p.Chain()
	m := move(t, p)
	if code := m.imports(p.Blocks[1:4]...); code != "" {
		t.Fatal(code)
	}
	_, before := m.status()
	// Found right too early: what comes afterwards was not approved by it.
	for _, o := range []model.MSPID{"BeijingMSP", "TianjinMSP"} {
		if code := m.closes(o, map[model.MSPID]string{"BeijingMSP": "beijing", "TianjinMSP": "tianjin"}[o], before.Position, before.Chain); code != "" {
			t.Fatal(code)
		}
	}
	if code := m.closes("HebeiMSP", "hebei", position, chain); code != model.CodeImportMismatch {
		t.Errorf("ahead of the import: %q", code)
	}
	if code := m.imports(p.Blocks[4:]...); code != "" {
		t.Fatal(code)
	}
	for name, tt := range map[string]struct {
		msp      model.MSPID
		cn       string
		position string
		chain    string
		want     model.Code
	}{
		"another position":    {"BeijingMSP", "beijing", fmt.Sprint(position - 1), chain.String(), model.CodeImportMismatch},
		"the one before":      {"BeijingMSP", "beijing", fmt.Sprint(before.Position), before.Chain.String(), model.CodeImportMismatch},
		"another chain":       {"BeijingMSP", "beijing", fmt.Sprint(position), before.Chain.String(), model.CodeImportMismatch},
		"no member":           {"OtherMSP", "other", fmt.Sprint(position), chain.String(), model.CodeNotActingFor},
		"the ledger's own":    {contracttest.LedgerMSP, "ledger", fmt.Sprint(position), chain.String(), model.CodeNotActingFor},
		"an agency":           {"BeijingMSP", "bj-scjg", fmt.Sprint(position), chain.String(), model.CodeNotActingFor},
		"another's node":      {"BeijingMSP", "tianjin", fmt.Sprint(position), chain.String(), model.CodeNotActingFor},
		"not a number":        {"BeijingMSP", "beijing", "x", chain.String(), model.CodeBadValue},
		"a negative number":   {"BeijingMSP", "beijing", "-1", chain.String(), model.CodeBadValue},
		"not a digest":        {"BeijingMSP", "beijing", fmt.Sprint(position), "x", model.CodeBadValue},
		"a digest in capital": {"BeijingMSP", "beijing", fmt.Sprint(position), "ABCDEF" + chain.String()[6:], model.CodeBadValue},
	} {
		if code := codeOf(m.call(tt.msp, tt.cn, model.FunctionCloseImport, []byte(tt.position), []byte(tt.chain))); code != tt.want {
			t.Errorf("%s: %q, want %q", name, code, tt.want)
		}
	}
	if code := codeOf(m.call("BeijingMSP", "beijing", model.FunctionCloseImport, fmt.Append(nil, position))); code != model.CodeMissingField {
		t.Errorf("one argument: %q", code)
	}
	for _, want := range []model.Code{"", model.CodeAlreadyApproved, model.CodeAlreadyApproved, model.CodeAlreadyApproved} {
		if code := m.closes("BeijingMSP", "beijing", position, chain); code != want {
			t.Fatalf("%q, want %q", code, want)
		}
	}
	if code := m.closes("TianjinMSP", "tianjin", position, chain); code != "" {
		t.Fatal(code)
	}
	if e, _ := m.status(); e.Header.Exists() {
		t.Fatal("closed by two of four")
	}
	if code := m.closes("CustomsMSP", "customs", position, chain); code != "" {
		t.Fatal(code)
	}
	if e, s := m.status(); !e.Header.Exists() || s.Position != position {
		t.Fatal("three of four do not close it")
	}
	if n := uint64(len(m.applied)); n != position+1 {
		t.Errorf("%d leaves", n)
	}
}

// TestImportByTwo: of two organisations that import the same block on the same state the second one's is out
// of order when it is endorsed again, and both touch the one key that lets only one of them be valid.
func TestImportByTwo(t *testing.T) {
	p := history(t)
	m := move(t, p)
	key := model.StateKey(model.KindImport, model.ImportID)
	for _, by := range []struct {
		msp model.MSPID
		cn  string
	}{{"BeijingMSP", "beijing"}, {"TianjinMSP", "tianjin"}} {
		x, err := m.contract.Execute(m.state, model.Call{Function: model.FunctionImport, Args: p.Blocks[1:2], Msp: by.msp, CommonName: by.cn, Time: moved})
		if err != nil {
			t.Fatal(err)
		}
		touches := false
		for _, w := range x.Writes {
			touches = touches || w.Key == key
		}
		if !touches {
			t.Fatal("two imports could both be valid")
		}
	}
	if code := m.imports(p.Blocks[1]); code != "" {
		t.Fatal(code)
	}
	if code := codeOf(m.call("TianjinMSP", "tianjin", model.FunctionImport, p.Blocks[1])); code != model.CodeImportOrder {
		t.Errorf("%q", code)
	}
}

// TestDerivedAreNeverSent: nobody sends what only the contract may say.
func TestDerivedAreNeverSent(t *testing.T) {
	l := contracttest.New()
	for _, typ := range []model.Type{model.Genesis, model.ImportClosed} {
		s := model.Import{Approvals: []model.MSPID{}, Blocks: 1, Last: model.Digest{1}, Source: model.Digest{1}}
		op, err := s.Operation(model.TimeOf(now))
		if err != nil {
			t.Fatal(err)
		}
		op.Type, op.Agency = typ, "bj-scjg"
		if _, _, err := l.Submit(op); codeOf(err) != model.CodeUnknownOperation {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// BenchmarkImportSingles imports transactions of one operation each, which is what two signatures a block and
// one a transaction cost.
func BenchmarkImportSingles(b *testing.B) {
	for _, n := range []int{1, 50} { // transactions a block
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			const total = 200
			p := contracttest.NewPilot()
			for i := range total {
				issues(&testing.T{}, p, i+1, 1, contracttest.Created.Add(time.Hour))
				if (i+1)%n == 0 {
					p.Cut()
				}
			}
			c := *p.Contract
			c.ImportFrom = p.Source()
			m := &mover{&testing.T{}, &c, contracttest.State{}, nil}
			if err := m.call("BeijingMSP", "beijing", model.FunctionInit, p.Document, p.Blocks[0]); err != nil {
				b.Fatal(err)
			}
			call := model.Call{Function: model.FunctionImport, Args: p.Blocks[1:], Msp: "BeijingMSP", CommonName: "beijing", Time: moved}
			b.ResetTimer()
			for range b.N {
				if x, err := c.Execute(m.state, call); err != nil || len(x.Applied) != total {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*total)/b.Elapsed().Seconds(), "operations/s")
		})
	}
}

func BenchmarkImport(b *testing.B) {
	for _, n := range []int{1, 100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := contracttest.NewPilot()
			t := &testing.T{}
			issues(t, p, 1, n, contracttest.Created.Add(time.Hour))
			p.Cut()
			c := *p.Contract
			c.ImportFrom = p.Source()
			m := &mover{t, &c, contracttest.State{}, nil}
			if err := m.call("BeijingMSP", "beijing", model.FunctionInit, p.Document, p.Blocks[0]); err != nil {
				b.Fatal(err)
			}
			if code := m.imports(p.Blocks[1]); code != "" {
				b.Fatal(code)
			}
			call := model.Call{Function: model.FunctionImport, Args: p.Blocks[2:], Msp: "BeijingMSP", CommonName: "beijing", Time: moved}
			b.ResetTimer()
			for range b.N {
				if x, err := c.Execute(m.state, call); err != nil || len(x.Applied) != n {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "operations/s")
		})
	}
}
