package verify_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/records"
	"github.com/zhenglian/zhenglian/node/internal/verify"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// issued is the day of the tests' licences, today the day of their questions.
const (
	issued = model.Date("2026-01-05")
	today  = model.Date("2026-06-01")
)

var noon = today.Start().Add(12 * time.Hour)

// rig is a node's records, written by the real contract, with the service over them.
type rig struct {
	t       testing.TB
	ledger  *contracttest.Ledger
	store   *records.Store
	service *verify.Service
	signers map[string]envelope.Signer // by key id
	leaves  map[string]model.Digest
	age     atomic.Int64
	behind  atomic.Bool
	clock   time.Time
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, signers: map[string]envelope.Signer{}, leaves: map[string]model.Digest{}, clock: noon}
	g := contracttest.Genesis()
	for i := range g.Agencies {
		for j := range g.Agencies[i].Keys {
			k := &g.Agencies[i].Keys[j]
			k.Public = r.key(k.ID, envelope.Alg(k.Alg))
		}
	}
	doc, err := model.Canonical(g)
	if err != nil {
		t.Fatal(err)
	}
	check := func(alg string, public, message, signature []byte) error {
		return envelope.Verify(envelope.Alg(alg), public, message, signature)
	}
	r.ledger = &contracttest.Ledger{
		Contract: &contract.Contract{Genesis: model.DigestOf(doc), Verify: check}, State: contracttest.State{}, Genesis: g, Document: doc,
	}
	r.store, err = records.Open(t.TempDir(), records.Options{Changed: func(ids []model.RecordID) { r.service.Changed(ids) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.store.Check(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		if err := r.store.Close(); err != nil {
			t.Error(err)
		}
	})
	r.service = verify.New(verify.Config{
		Snapshot: func() verify.Snapshot { return r.store.Snapshot() },
		Check:    check,
		Age:      func() time.Duration { return time.Duration(r.age.Load()) },
		Behind:   r.behind.Load,
		Clock:    func() time.Time { return r.clock },
	})
	x, err := r.ledger.Contract.Execute(r.ledger.State, model.Call{
		Function: model.FunctionInit, Args: [][]byte{doc}, Msp: "BeijingMSP", CommonName: "beijing", Time: contracttest.Created})
	if err != nil {
		t.Fatal(err)
	}
	r.ledger.Apply(x)
	r.give(x)
	return r
}

// key makes a signer and returns its public point.
func (r *rig) key(id string, alg envelope.Alg) string {
	s, err := envelope.NewSigner(alg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.signers[id] = s
	return base64.RawURLEncoding.EncodeToString(s.Public())
}

// give applies an execution to the records as a block of its own.
func (r *rig) give(x *model.Execution) {
	r.t.Helper()
	w := r.store.Writer()
	n, position := r.store.Height(), r.store.Position()
	hash := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	if err := w.Block(n, hash, model.TimeOf(noon), []string{hex.EncodeToString(hash[:])}, nil); err != nil {
		r.t.Fatal(err)
	}
	for _, s := range x.Writes {
		if err := w.Write("", s.Key, s.Value, 0); err != nil {
			r.t.Fatal(err)
		}
	}
	for i := range x.Applied {
		a := &x.Applied[i]
		h := a.Effect.Header
		key := string(a.Op.Kind) + "/" + string(a.Op.Record)
		l := model.Leaf{Operation: a.Digest, Kind: a.Op.Kind, ID: a.Op.Record, Version: h.Version, State: h.State,
			Record: model.RecordDigest(a.Op.Kind, a.Op.Record, h), Previous: r.leaves[key]}
		r.leaves[key] = l.Hash()
		receipt := model.Receipt{Position: position + uint64(i), Leaf: l.Hash(), Block: n, Tx: hex.EncodeToString(hash[:])}
		if err := w.Leaf(a, &l, &receipt, "BeijingMSP"); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) submit(ops ...model.Operation) {
	r.t.Helper()
	x, response, err := r.ledger.Submit(ops...)
	if err != nil || len(response.Refused) > 0 {
		r.t.Fatalf("%v %+v", err, response)
	}
	r.give(x)
}

// sign signs a licence with a key that the rig holds.
func (r *rig) sign(v *model.Licence, key string) {
	r.t.Helper()
	s := r.signers[key]
	v.Signature = nil
	message, err := v.SigningBytes()
	if err != nil {
		r.t.Fatal(err)
	}
	raw, err := s.Sign(message)
	if err != nil {
		r.t.Fatal(err)
	}
	v.Signature = &model.Signature{Alg: string(s.Alg()), Key: key, Value: base64.RawURLEncoding.EncodeToString(raw)}
}

// licence is a licence of bj-scjg, changed and then signed.
func (r *rig) licence(serial int, change func(*model.Licence)) model.Licence {
	r.t.Helper()
	v := contracttest.Licence(r.ledger.Genesis, "bj-scjg", serial)
	if change != nil {
		change(&v)
	}
	r.sign(&v, "bj-scjg-1")
	return v
}

func record(serial int) model.RecordID { return model.NewRecordID("bj-scjg", uint64(serial)) }

func operation(t model.Type, serial int, version uint64, at time.Time, body any) model.Operation {
	return contracttest.Op("bj-scjg", t, model.KindLicence, record(serial), version, at, body)
}

func (r *rig) issue(serial int, change func(*model.Licence)) model.Licence {
	r.t.Helper()
	v := r.licence(serial, change)
	r.submit(operation(model.LicenceIssue, serial, 1, issued.Start().Add(9*time.Hour), model.IssueBody{Value: v}))
	return v
}

func (r *rig) act(t model.Type, serial int, version uint64, effective model.Date) {
	r.t.Helper()
	r.submit(operation(t, serial, version, noon.Add(-time.Hour), contracttest.Act(effective)))
}

func (r *rig) amend(how model.AmendKind, serial int, version uint64, effective model.Date, was, is model.Licence) model.Licence {
	r.t.Helper()
	p := was.Identifier.Parts()
	is.Identifier = contracttest.Identifier(is, serial, p.Version+1)
	r.sign(&is, is.Signature.Key)
	r.submit(operation(model.LicenceAmend, serial, version, noon.Add(-time.Hour),
		model.AmendBody{Act: contracttest.Act(effective).Act, How: how, Previous: was, Value: is}))
	return is
}

func (r *rig) ask(q model.Query) model.Verdict {
	r.t.Helper()
	return r.service.Verify(r.t.Context(), []model.Query{q})[0]
}
