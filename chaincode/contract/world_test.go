package contract_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/bits"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// world draws operations and sends each call to the contract behind a shim stub and to the plain model.
type world struct {
	t       *rapid.T
	plain   *plain
	peer    *peerNode
	genesis *model.GenesisDocument
	serials map[string]uint64
	history []planned
	sent    []sent   // what a block would hold of all calls
	leaves  []leaf   // of genesis and of all accepted operations
	secrets [][]byte // bytes of confidential bodies and salts
	seen    tally
	n       int // numbers drawn names apart; no count of steps
	steps   int
}

// sign is a stand-in for a signature that verifies under its own key only.
func sign(k model.Key, message []byte) string {
	public, _ := k.PublicBytes()
	a := sha256.Sum256(append(bytes.Clone(public), message...))
	b := sha256.Sum256(append(bytes.Clone(message), public...))
	return base64.RawURLEncoding.EncodeToString(append(a[:], b[:]...))
}

func verify(alg string, public, message, signature []byte) error {
	k := model.Key{Alg: alg, Public: base64.RawURLEncoding.EncodeToString(public)}
	if base64.RawURLEncoding.EncodeToString(signature) != sign(k, message) {
		return errors.New("the signature does not verify")
	}
	return nil
}

func newWorld(t *rapid.T) *world {
	g := contracttest.Genesis()
	g.Policy.Level = rapid.SampledFrom([]int{1, 2, 2}).Draw(t, "level at genesis")
	doc, err := model.Canonical(g)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := g.Operations()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, genesis: g, serials: map[string]uint64{}, plain: newPlain(g, ops)}
	w.peer = &peerNode{state: map[string][]byte{}, now: contracttest.Created}
	w.peer.contract = &contract.Contract{Genesis: model.DigestOf(doc), Verify: verify, Clock: func() time.Time { return w.peer.now }}
	r, s := w.peer.propose("BeijingMSP", "beijing", w.peer.now, []byte("Init"), doc)
	if r.Status != 200 {
		t.Fatalf("Init: %s", r.Message)
	}
	w.peer.commit(s)
	w.peer.now = w.peer.now.Add(150 * 24 * time.Hour)
	for i := range ops {
		w.leaves = append(w.leaves, leafOf(w.plain, &ops[i]))
	}
	return w
}

// offsets of operations' times from their proposal's, in seconds: 60 is the most allowed.
var offsets = append(make([]int, 40), 59, -60, 60, 61, -90)

// call sends one transaction to both sides and compares everything.
func (w *world) call(msp model.MSPID, cn string, personal bool, planned ...planned) (accepted bool) {
	t := w.t
	at := w.peer.now.Add(time.Duration((w.roll(2*200+1, "skew") - 200)) * time.Second)
	args := [][]byte{[]byte("Apply")}
	for i := range planned {
		op := &planned[i].op
		offset := pick(w, "offset", offsets)
		op.Time = model.TimeOf(at.Add(time.Duration(offset) * time.Second))
		args = append(args, op.Encode())
	}
	for _, secret := range w.secrets {
		for _, a := range args {
			if bytes.Contains(a, secret) {
				t.Fatalf("confidential bytes in an argument")
			}
		}
	}
	if w.chance(2, "packed") {
		args = append(args[:1:1], model.Pack(args[1:])...)
	}
	response, s := w.peer.propose(msp, cn, at, args...)
	stranger := faults{} // why the caller acts for none of the operations' agencies
	for i := range planned {
		f := faults{}
		if w.plain.acting(f, msp, cn, planned[i].op.Agency); len(f) == 0 {
			stranger = faults{}
			break
		}
		maps.Copy(stranger, f)
	}
	if len(stranger) > 0 {
		if response.Status != 500 || len(s.writes) != 0 || !stranger[model.Code(response.Message)] && !(personal && response.Message == "personal_identifier") {
			t.Fatalf("a stranger: %d %s, want one of %v", response.Status, response.Message, slices.Sorted(maps.Keys(stranger)))
		}
		w.seen[response.Message]++
		return false
	}
	if personal {
		if response.Status != 500 || response.Message != "personal_identifier" || len(s.writes) != 0 {
			t.Fatalf("a personal identifier: %d %s", response.Status, response.Message)
		}
		return false
	}
	if response.Status != 200 {
		t.Fatalf("the call failed: %s", response.Message)
	}
	var got model.Response
	if err := json.Unmarshal(response.Payload, &got); err != nil {
		t.Fatal(err)
	}
	refused := map[int]model.Code{}
	for _, r := range got.Refused {
		refused[r.Index] = r.Code
	}
	w.sent = append(w.sent, sent{msp, cn, at, args, response.Payload})
	next := w.plain.clone()
	var leaves []leaf
	for i := range planned {
		f := next.apply(msp, cn, at, planned[i])
		if len(f) == 0 {
			leaves = append(leaves, leafOf(next, &planned[i].op))
		}
		code, isRefused := refused[i]
		if isRefused != (len(f) > 0) || (isRefused && !f[code]) {
			t.Fatalf("operation %d %s of %s on %s %s:\n%s\ncontract: %q\nplain:    %v", i, planned[i].op.Type, planned[i].op.Agency,
				planned[i].op.Kind, planned[i].op.Record, planned[i].op.Body, code, slices.Sorted(maps.Keys(f)))
		}
	}
	for _, c := range refused {
		w.seen[string(c)]++
	}
	if got.Accepted != len(planned)-len(refused) {
		t.Fatalf("accepted %d of %d with %d refused", got.Accepted, len(planned), len(refused))
	}
	w.repeatable(model.Call{Function: "Apply", Args: args[1:], Msp: msp, CommonName: cn, Time: at}, response.Payload, s)
	if len(refused) > 0 {
		if len(s.writes) != 0 {
			t.Fatalf("a call with refusals writes %d keys", len(s.writes))
		}
		return false
	}
	w.explained(planned, s.writes, next)
	w.peer.commit(s)
	w.plain, w.leaves = next, append(w.leaves, leaves...)
	for i := range planned {
		w.history = append(w.history, planned[i])
		w.seen[string(planned[i].op.Type)]++
		w.compared(planned[i].op.Kind, planned[i].op.Record)
	}
	w.counters()
	return true
}

// unknown sends an operation that the ledger's level does not know: the call fails as a whole.
func (w *world) unknown(msp model.MSPID, cn string, o planned) {
	o.op.Time = model.TimeOf(w.peer.now)
	r, s := w.peer.propose(msp, cn, w.peer.now, []byte("Apply"), o.op.Encode())
	if r.Status != 500 || r.Message != string(model.CodeUnknownOperation) || len(s.writes) != 0 {
		w.t.Fatalf("%s below its level: %d %s", o.op.Type, r.Status, r.Message)
	}
	w.seen[r.Message]++
}

// repeatable holds the endorsement against the follower's execution of the same call, several times, since
// an order of maps would show only sometimes.
func (w *world) repeatable(c model.Call, payload []byte, s *stub) {
	for range 3 {
		x, err := w.peer.contract.Execute(contracttest.State(w.peer.state), c)
		if err != nil {
			w.t.Fatal(err)
		}
		if !bytes.Equal(x.Response, payload) || len(x.Writes) != len(s.writes) {
			w.t.Fatalf("another answer to the same call:\n%s\n%s", x.Response, payload)
		}
		for _, wr := range x.Writes {
			if !bytes.Equal(s.writes[wr.Key], wr.Value) {
				w.t.Fatalf("another write of %s", wr.Key)
			}
		}
	}
}

// Drawing.

// roll is even over [0, n) and shrinks towards 0. rapid's own ranges prefer small numbers, so that most
// operations would have some fault and hardly any licence would live.
func (w *world) roll(n int, label string) int {
	u, width := 0, bits.Len(uint(n-1))+3
	for range width {
		u <<= 1
		if rapid.Bool().Draw(w.t, label) {
			u |= 1
		}
	}
	return u * n >> width
}

func pick[T any](w *world, label string, from []T) T { return from[w.roll(len(from), label)] }

// chance is true once in n.
func (w *world) chance(n int, label string) bool { return w.roll(n, label) == n-1 }

func (w *world) id() model.OpID {
	w.n++
	return model.DeriveOpID("", "world", "", w.n)
}

func (w *world) plan(agency model.AgencyID, t model.Type, kind model.Kind, record model.RecordID, body any) planned {
	raw, err := model.Canonical(body)
	if err != nil {
		w.t.Fatal(err)
	}
	version := uint64(1)
	if r := w.plain.records[kind][record]; r != nil {
		version = r.header.Version + 1
	}
	if w.chance(20, "wrong version") {
		version = uint64(rapid.IntRange(1, 4).Draw(w.t, "version"))
	}
	return planned{model.Operation{Agency: agency, Body: raw, ID: w.id(), Kind: kind, Record: record, Type: t, Version: version}, body}
}

func ids[V any](m map[model.RecordID]V) []model.RecordID { return slices.Sorted(maps.Keys(m)) }

// agency draws one, rarely a stranger.
func (w *world) agency() model.AgencyID {
	all := ids(w.plain.records[model.KindAgency])
	if w.chance(30, "unknown agency") {
		return "zz-nobody"
	}
	return model.AgencyID(pick(w, "agency", all))
}

// issuer draws an agency that may well issue.
func (w *world) issuer() model.AgencyID {
	if w.chance(4, "any agency") {
		return w.agency()
	}
	var able []model.AgencyID
	for _, id := range ids(w.plain.records[model.KindAgency]) {
		a, gone := w.plain.agency(model.AgencyID(id))
		if gone || !a.Has(model.RoleIssuer) || w.plain.member(a.Msp) == nil {
			continue
		}
		able = append(able, a.ID)
		if len(w.plain.rights(w.plain.licenceType(contracttest.BusinessLicence), a.ID, w.today())) > 0 {
			able = append(able, a.ID, a.ID, a.ID)
		}
	}
	if len(able) == 0 {
		return w.agency()
	}
	return pick(w, "issuer", able)
}

// caller is the agency's own, or rarely any.
func (w *world) caller(id model.AgencyID) (model.MSPID, string) {
	a, _ := w.plain.agency(id)
	if a == nil || w.chance(25, "foreign caller") {
		return pick(w, "msp", []model.MSPID{"BeijingMSP", "TianjinMSP", "HebeiMSP", "CustomsMSP", "ExtraMSP", "NoneMSP"}),
			pick(w, "cn", []string{"beijing", "tianjin", "hebei", "customs", "extra", "bj-scjg", "nobody", ""})
	}
	if w.chance(6, "by itself") {
		return a.Msp, string(a.ID)
	}
	return a.Msp, string(a.Node)
}

func (w *world) day(around model.Date, span int) model.Date {
	return model.DateFromDays(uint32(int(around.Days()) + (w.roll(2*span+1, "day") - span)))
}

func (w *world) today() model.Date { return model.TimeOf(w.peer.now).Date() }

func (w *world) next(kind model.Kind, agency model.AgencyID) model.RecordID {
	k := string(kind) + "/" + string(agency)
	w.serials[k]++
	return model.NewRecordID(agency, w.serials[k])
}
