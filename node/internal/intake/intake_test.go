package intake

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/keystore"
	"github.com/zhenglian/zhenglian/node/internal/vault"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// fixture is an intake of the Beijing node whose ledger is the real contract on a state in memory: what
// intake accepts is executed, so a test sees whether the contract agrees.
type fixture struct {
	*Intake
	t      *testing.T
	ledger *contracttest.Ledger
	keys   *keystore.Keystore
	now    time.Time

	mu      sync.Mutex
	full    error // the queue's answer
	queued  []model.Operation
	byKey   map[[16]byte]model.Digest
	count   map[[16]byte]int
	records map[model.RecordID]*model.View
	claims  map[string]bool
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	keyDir := filepath.Join(dir, "keys")
	if err := os.Mkdir(keyDir, 0o700); err != nil {
		t.Fatal(err)
	}
	keys, err := keystore.Open(keyDir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(filepath.Join(dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	g := contracttest.Genesis()
	for i := range g.Agencies {
		a := &g.Agencies[i]
		if a.Node != "beijing" {
			continue
		}
		s, err := keys.Create(a.ID, string(a.ID)+"-1", envelope.ES256)
		if err != nil {
			t.Fatal(err)
		}
		a.Keys[0].Public = base64.RawURLEncoding.EncodeToString(s.Public())
	}
	f := &fixture{
		t: t, ledger: contracttest.NewOf(g), keys: keys, now: time.Date(2026, 6, 1, 2, 0, 0, 0, time.UTC),
		byKey: map[[16]byte]model.Digest{}, count: map[[16]byte]int{}, records: map[model.RecordID]*model.View{}, claims: map[string]bool{},
	}
	f.ledger.Contract.Verify = func(alg string, public, message, sig []byte) error {
		return envelope.Verify(envelope.Alg(alg), public, message, sig)
	}
	f.Intake = &Intake{Node: "beijing", Ledger: f, Queue: f, Keys: keys, Vault: v, Clock: func() time.Time { return f.now }}
	return f
}

func (f *fixture) View(kind model.Kind, id model.RecordID) (*model.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.records[model.RecordID(string(kind)+"/"+string(id))], nil
}

func (f *fixture) Agency(id model.AgencyID) (*model.Agency, error) {
	for i := range f.ledger.Genesis.Agencies {
		if f.ledger.Genesis.Agencies[i].ID == id {
			return &f.ledger.Genesis.Agencies[i], nil
		}
	}
	return nil, nil
}

func (f *fixture) LicenceType(code model.TypeCode) (*model.LicenceType, error) {
	for i := range f.ledger.Genesis.LicenceTypes {
		if f.ledger.Genesis.LicenceTypes[i].Code == code {
			return &f.ledger.Genesis.LicenceTypes[i], nil
		}
	}
	return nil, nil
}

func (f *fixture) Claimed(id model.LicenceID, t model.TypeCode, number string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.claims[string(t)+number] || f.claims[string(id)], nil
}

func (f *fixture) ClaimedFile(sha256, sm3 model.Digest) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.claims[sha256.String()] || f.claims[sm3.String()], nil
}

func (f *fixture) LastSerial(model.Kind, model.AgencyID) (uint64, error) { return 0, nil }

func (f *fixture) Lookup(key [16]byte) (model.Digest, int, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.byKey[key]
	return d, f.count[key], ok, nil
}

func (f *fixture) Accept(_ context.Context, key [16]byte, digest model.Digest, at time.Time, ops []model.Operation) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full != nil {
		return false, f.full
	}
	if key != ([16]byte{}) {
		f.byKey[key], f.count[key] = digest, len(ops)
	}
	for i := range ops {
		ops[i].Time = model.TimeOf(at)
	}
	f.queued = append(f.queued, ops...)
	return true, nil
}

// commit executes all that is queued, as the node's transactions would, and fails if the contract refuses.
func (f *fixture) commit() {
	f.t.Helper()
	for i := range f.queued {
		op := f.queued[i]
		x, r, err := f.ledger.SubmitAs("BeijingMSP", "beijing", op)
		if err != nil || len(r.Refused) > 0 {
			f.t.Fatalf("the contract refuses what intake accepted: %s: %+v %v", op.Type, r, err)
		}
		key := model.RecordID(string(op.Kind) + "/" + string(op.Record))
		e := x.Applied[0].Effect
		view := f.records[key]
		if view == nil {
			view = &model.View{Kind: op.Kind, ID: op.Record}
			f.records[key] = view
		}
		view.Header = e.Header
		if e.Value != nil {
			view.Public = e.Value
		}
		if b, ok := x.Applied[0].Body.(*model.IssueBody); ok {
			f.claims[string(b.Value.Type)+b.Value.Number], f.claims[string(b.Value.Identifier)] = true, true
			if file := b.Value.File; file != nil {
				f.claims[file.SHA256.String()], f.claims[file.SM3.String()] = true, true
			}
		}
		f.Settled([]model.OpID{op.ID}, nil)
	}
	f.queued = nil
}

func (f *fixture) accept(key string, drafts ...model.Draft) ([]model.OpID, error) {
	f.t.Helper()
	raw, err := json.Marshal(drafts)
	if err != nil {
		f.t.Fatal(err)
	}
	ids, _, err := f.Intake.Accept(context.Background(), Caller{Principal: "key-1", Agency: "bj-scjg"}, key, model.DigestOf(raw), drafts)
	return ids, err
}

func canonical(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := model.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (f *fixture) issueDraft(n int) model.Draft {
	return model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Body: canonical(f.t, map[string]any{"value": map[string]any{
		"type": contracttest.BusinessLicence, "number": fmt.Sprintf("N%d", n), "holder_code": contracttest.EnterpriseUSCC(n),
		"holder_name": "样例科技（北京）有限公司", "issued_on": "2026-05-30", "valid_from": "2026-05-30", "face": map[string]any{"scope": "软件开发"},
	}})}
}

func code(err error) model.Code {
	if err == nil {
		return ""
	}
	return model.AsError(err).Code
}

func TestIssueIsCompletedAndSigned(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accept("", f.issueDraft(1), f.issueDraft(2)); err != nil {
		t.Fatal(err)
	}
	for i, op := range f.queued {
		if want := model.NewRecordID("bj-scjg", uint64(i+1)); op.Record != want || op.Version != 1 {
			t.Errorf("record %s v%d, want %s v1", op.Record, op.Version, want)
		}
		var b model.IssueBody
		if err := json.Unmarshal(op.Body, &b); err != nil {
			t.Fatal(err)
		}
		message, _ := b.Value.SigningBytes()
		sig, _ := base64.RawURLEncoding.DecodeString(b.Value.Signature.Value)
		signer, _ := f.keys.Signer("bj-scjg", "bj-scjg-1")
		if err := envelope.Verify(envelope.ES256, signer.Public(), message, sig); err != nil {
			t.Errorf("signature: %v", err)
		}
		if p := b.Value.Identifier.Parts(); p.Version != 1 || p.Serial != fmt.Sprintf("%07d", i+1) {
			t.Errorf("identifier %s", b.Value.Identifier)
		}
	}
	f.commit()
}

func TestWhoMayAsk(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		agency model.AgencyID
		want   model.Code
	}{
		{"bj-scjg", ""},
		{"bj-dc-scjg", ""},                  // below the caller's agency: accepted here, refused or not by the contract
		{"tj-scjg", model.CodeNotActingFor}, // another node's
		{"bj-unknown", model.CodeAgencyUnknown},
	} {
		d := f.issueDraft(7)
		d.Agency = c.agency
		if _, err := f.accept("", d); code(err) != c.want {
			t.Errorf("%s: %v, want %q", c.agency, err, c.want)
		}
		f.Settled([]model.OpID{}, nil)
		for _, op := range f.queued {
			f.Settled([]model.OpID{op.ID}, nil)
		}
		f.queued = nil
	}
	raw := []model.Draft{f.issueDraft(8)}
	if _, _, err := f.Intake.Accept(context.Background(), Caller{Principal: "k", Agency: "bj-dc-scjg"}, "", model.Digest{}, raw); code(err) != model.CodeForbidden {
		t.Errorf("a district for its city: %v", err)
	}
}

func TestIdempotency(t *testing.T) {
	f := newFixture(t)
	first, err := f.accept("k1", f.issueDraft(1))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			ids, err := f.accept("k1", f.issueDraft(1))
			if err != nil || len(ids) != 1 || ids[0] != first[0] {
				t.Errorf("again: %v %v", ids, err)
			}
		})
	}
	wg.Wait()
	if _, err := f.accept("k1", f.issueDraft(2)); code(err) != model.CodeIdempotencyMismatch {
		t.Errorf("another body: %v", err)
	}
	if len(f.queued) != 1 {
		t.Errorf("%d operations accepted", len(f.queued))
	}
	f.commit()
}

func TestNumbersAreUnique(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accept("", f.issueDraft(1), f.issueDraft(1)); code(err) != model.CodeNumberTaken {
		t.Errorf("twice in one request: %v", err)
	}
	f.full = model.E(model.CodeOutboxFull)
	if _, err := f.accept("", f.issueDraft(1)); code(err) != model.CodeOutboxFull {
		t.Errorf("full: %v", err)
	}
	f.full = nil
	if _, err := f.accept("", f.issueDraft(1)); err != nil {
		t.Fatalf("after refused requests the number is free: %v", err)
	}
	if _, err := f.accept("", f.issueDraft(1)); code(err) != model.CodeNumberTaken {
		t.Errorf("while pending: %v", err)
	}
	f.commit()
	if _, err := f.accept("", f.issueDraft(1)); code(err) != model.CodeNumberTaken {
		t.Errorf("once recorded: %v", err)
	}
}

func TestPersonIsCommittedTo(t *testing.T) {
	f := newFixture(t)
	const id, name = "11010519491231002X", "张样例三"
	d := model.Draft{
		Agency: "bj-scjg", Type: model.LicenceIssue, Confidential: &model.LicenceConfidential{HolderCode: id, HolderName: name},
		Body: canonical(t, map[string]any{"value": map[string]any{
			"type": contracttest.PersonalLicence, "number": "P1", "issued_on": "2026-05-30", "valid_from": "2026-05-30", "face": map[string]any{"grade": "A"},
		}}),
	}
	ids, err := f.accept("", d)
	if err != nil {
		t.Fatal(err)
	}
	raw := f.queued[0].Encode()
	if bytes.Contains(raw, []byte(id)) || bytes.Contains(raw, []byte(name)) {
		t.Fatalf("the operation names the person: %s", raw)
	}
	var b model.IssueBody
	if err := json.Unmarshal(f.queued[0].Body, &b); err != nil {
		t.Fatal(err)
	}
	o, err := f.Vault.Openings(ids[0])
	if err != nil || len(o) != 2 {
		t.Fatalf("openings %v %v", o, err)
	}
	for field, opening := range o {
		if !opening.Opens(field, b.Value.Commitments[field]) {
			t.Errorf("%s does not open", field)
		}
	}
	f.commit()
	d.Confidential = &model.LicenceConfidential{HolderCode: "110105194912310021", HolderName: name}
	if _, err := f.accept("", d); code(err) != model.CodeBadCitizenID {
		t.Errorf("a wrong check digit: %v", err)
	}
	d = f.issueDraft(3)
	d.Confidential = &model.LicenceConfidential{Face: map[string]any{"scope": "x"}}
	if _, err := f.accept("", d); code(err) != model.CodeBadValue {
		t.Errorf("a public field given as confidential: %v", err)
	}
}

func TestSuppliedSignature(t *testing.T) {
	for _, alg := range []envelope.Alg{envelope.ES256, envelope.ES256K, envelope.SM2} {
		t.Run(string(alg), func(t *testing.T) {
			f := newFixture(t)
			s, err := envelope.NewSigner(alg)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := f.Agency("bj-scjg")
			a.Keys[0] = model.Key{ID: "outside", Alg: string(alg), Public: base64.RawURLEncoding.EncodeToString(s.Public())}
			f.ledger = contracttest.NewOf(f.ledger.Genesis)
			l := contracttest.Licence(f.ledger.Genesis, "bj-scjg", 9)
			message, _ := l.SigningBytes()
			sig, err := s.Sign(message)
			if err != nil {
				t.Fatal(err)
			}
			l.Signature = &model.Signature{Alg: string(alg), Key: "outside", Value: base64.RawURLEncoding.EncodeToString(sig)}
			good := model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Body: canonical(t, model.IssueBody{Value: l})}
			if _, err := f.accept("", good); err != nil {
				t.Fatal(err)
			}
			f.commit()
			l.Number = "altered"
			if _, err := f.accept("", model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Body: canonical(t, model.IssueBody{Value: l})}); code(err) != model.CodeSignatureInvalid {
				t.Errorf("altered: %v", err)
			}
			l.Signature.Key = "elsewhere"
			if _, err := f.accept("", model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Body: canonical(t, model.IssueBody{Value: l})}); code(err) != model.CodeKeyUnknown {
				t.Errorf("unknown key: %v", err)
			}
		})
	}
}

func TestAmendRaisesTheIdentifier(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accept("", f.issueDraft(1)); err != nil {
		t.Fatal(err)
	}
	amend := model.Draft{Agency: "bj-scjg", Type: model.LicenceAmend, Record: "bj-scjg.1", Body: canonical(t, map[string]any{
		"decision": map[string]any{"number": "D1", "date": "2026-06-01"}, "effective": "2026-06-01", "reason": "moved", "how": "change",
		"value": map[string]any{"face": map[string]any{"capital": "200万元"}},
	})}
	if _, err := f.accept("", amend); err == nil {
		t.Error("an amendment of what is still on its way was accepted")
	}
	f.commit()
	if _, err := f.accept("", amend); err != nil {
		t.Fatal(err)
	}
	if _, err := f.accept("", amend); code(err) != model.CodeVersionConflict {
		t.Errorf("a second amendment meanwhile: %v", err)
	}
	f.commit()
	var l model.Licence
	if err := json.Unmarshal(f.records["licence/bj-scjg.1"].Public, &l); err != nil {
		t.Fatal(err)
	}
	if l.Identifier.Parts().Version != 2 || len(l.Face) != 1 || l.Face["capital"] != "200万元" {
		t.Errorf("amended: %s %v", l.Identifier, l.Face)
	}
	act := model.Draft{Agency: "bj-scjg", Type: model.LicenceSuspend, Record: "bj-scjg.1", Body: canonical(t, contracttest.Act("2026-06-01"))}
	if _, err := f.accept("", act); err != nil {
		t.Fatal(err)
	}
	act.Type = model.LicenceResume // on its heels, before the first is committed
	if _, err := f.accept("", act); err != nil {
		t.Fatal(err)
	}
	f.commit()
	if v := f.records["licence/bj-scjg.1"]; v.Version != 4 || v.State != model.InForce {
		t.Errorf("v%d %s", v.Version, v.State)
	}
}

func TestRotateKey(t *testing.T) {
	f := newFixture(t)
	f.records["agency/bj-scjg"] = &model.View{Kind: model.KindAgency, ID: "bj-scjg", Header: model.Header{Version: 1, State: model.Active}}
	d := model.Draft{Agency: "bj-scjg", Type: model.RotateKey, Kind: model.KindAgency, Record: "bj-scjg", Body: canonical(t, map[string]any{"alg": "SM2"})}
	if _, err := f.accept("", d); err != nil {
		t.Fatal(err)
	}
	f.commit()
	var a model.Agency
	if err := json.Unmarshal(f.records["agency/bj-scjg"].Public, &a); err != nil {
		t.Fatal(err)
	}
	if len(a.Keys) != 2 || !a.Keys[0].Retired || a.Keys[1].Retired || a.Keys[1].Alg != "SM2" {
		t.Fatalf("keys %+v", a.Keys)
	}
	if _, ok := f.keys.Signer("bj-scjg", a.Keys[1].ID); !ok {
		t.Error("the node does not hold the new key")
	}
}

func TestSerialsAreNeverReused(t *testing.T) {
	dir := t.TempDir()
	none := func() (uint64, error) { return 1, nil }
	open := func() *vault.Vault {
		v, err := vault.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	next := func(v *vault.Vault, n int, floor func() (uint64, error)) uint64 {
		s, err := v.Serials(model.KindLicence, "bj-scjg", n, floor)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	v := open()
	if a, b := next(v, 100, none), next(v, 1, none); a != 1 || b != 101 {
		t.Errorf("first %d, then %d", a, b)
	}
	if err := errors.Join(v.Usable(), v.Close()); err != nil { // an orderly stop
		t.Fatal(err)
	}
	v = open()
	if s := next(v, 1, none); s != 102 {
		t.Errorf("after an orderly stop %d, want 102", s)
	}
	if err := v.Close(); err != nil { // a crash: nothing was given back
		t.Fatal(err)
	}
	v = open()
	if s := next(v, 1, none); s <= 102 {
		t.Errorf("after a crash %d was given out again", s)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(t.TempDir()) // restored empty: the ledger's records are what is known
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if s := next(v, 1, func() (uint64, error) { return 5001, nil }); s != 5001 {
		t.Errorf("with an empty vault %d, want 5001", s)
	}
}

// TestWhatNoEndorserCouldRead: an id or a version that the contract's decoder refuses is refused at once; it
// would wait in the outbox for ever.
func TestWhatNoEndorserCouldRead(t *testing.T) {
	f := newFixture(t)
	d := f.issueDraft(1)
	d.Record = "bj-scjg.999999999999999"
	if _, err := f.accept("", d); code(err) != model.CodeBadID {
		t.Errorf("a caller's own serial: %v", err)
	}
	if _, err := f.accept("", f.issueDraft(1)); err != nil {
		t.Fatal(err)
	}
	f.commit()
	act := model.Draft{Agency: "bj-scjg", Type: model.LicenceSuspend, Record: "bj-scjg.1", Body: canonical(t, contracttest.Act("2026-06-01"))}
	for _, version := range []uint64{1, 3, 1<<53 - 1, 1 << 53} {
		act.Version = version
		if _, err := f.accept("", act); code(err) != model.CodeVersionConflict {
			t.Errorf("version %d: %v", version, err)
		}
	}
	act.Version = 2
	if _, err := f.accept("", act); err != nil {
		t.Error(err)
	}
	act.Record = "bj-scjg.0x"
	act.Version = 0
	if _, err := f.accept("", act); err == nil {
		t.Error("a record id of no form was accepted")
	}
	f.commit()
}

// TestAmendCannotTakeANumber: an amendment's new number is held to the same rule as an issue's.
func TestAmendCannotTakeANumber(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accept("", f.issueDraft(1), f.issueDraft(2)); err != nil {
		t.Fatal(err)
	}
	f.commit()
	amend := func(record model.RecordID, number string) error {
		_, err := f.accept("", model.Draft{Agency: "bj-scjg", Type: model.LicenceAmend, Record: record, Body: canonical(t, map[string]any{
			"decision": map[string]any{"number": "D1", "date": "2026-06-01"}, "effective": "2026-06-01", "reason": "wrong-number", "how": "correct",
			"value": map[string]any{"number": number},
		})})
		return err
	}
	if err := amend("bj-scjg.1", "N2"); code(err) != model.CodeNumberTaken {
		t.Errorf("a number that stands: %v", err)
	}
	if err := amend("bj-scjg.1", "N77"); err != nil {
		t.Fatal(err)
	}
	if err := amend("bj-scjg.2", "N77"); code(err) != model.CodeNumberTaken {
		t.Errorf("a number on its way: %v", err)
	}
	if _, err := f.accept("", f.issueDraft(77)); code(err) != model.CodeNumberTaken {
		t.Errorf("an issue of a number on its way: %v", err)
	}
	f.commit()
}

// TestSaltsSurviveARepeatedRequest: a request that failed unclearly may be on the disk with its first salts.
func TestSaltsSurviveARepeatedRequest(t *testing.T) {
	f := newFixture(t)
	d := model.Draft{
		Agency: "bj-scjg", Type: model.LicenceIssue, Confidential: &model.LicenceConfidential{HolderCode: "11010519491231002X", HolderName: "张"},
		Body: canonical(t, map[string]any{"value": map[string]any{
			"type": contracttest.PersonalLicence, "number": "P1", "issued_on": "2026-05-30", "valid_from": "2026-05-30", "face": map[string]any{"grade": "A"},
		}}),
	}
	f.full = model.E(model.CodeOutcomeUnknown)
	if _, err := f.accept("k", d); code(err) != model.CodeOutcomeUnknown {
		t.Fatal(err)
	}
	id := model.DeriveOpID("bj-scjg", "key-1", "k", 0)
	first, err := f.Vault.Openings(id)
	if err != nil || first == nil {
		t.Fatal(first, err)
	}
	f.full = nil
	if _, err := f.accept("k", d); err != nil {
		t.Fatal(err)
	}
	second, err := f.Vault.Openings(id)
	if err != nil {
		t.Fatal(err)
	}
	for field, o := range first {
		if second[field] != o {
			t.Errorf("%s has another salt now", field)
		}
	}
	f.commit()
}

// TestDelegateIssuesInItsDelegatorsName: identifiers under the delegator's code never collide with its own.
func TestDelegateIssuesInItsDelegatorsName(t *testing.T) {
	f := newFixture(t)
	city, _ := f.Agency("bj-scjg")
	if _, err := f.accept("", f.issueDraft(1)); err != nil {
		t.Fatal(err)
	}
	d := f.issueDraft(2)
	d.Agency = "bj-dc-scjg"
	d.Body = bytes.Replace(d.Body, []byte(`{"value":{`), []byte(`{"value":{"issuer":"`+string(city.USCC)+`",`), 1)
	if c, err := model.Canonicalize(d.Body); err != nil {
		t.Fatal(err)
	} else {
		d.Body = c
	}
	if _, err := f.accept("", d); err != nil {
		t.Fatalf("its first serial is the city's first too: %v", err)
	}
}

// TestFilesBelongToOneLicence: the digest of another licence's file is refused, on its way or recorded.
func TestFilesBelongToOneLicence(t *testing.T) {
	f := newFixture(t)
	withFile := func(n int) model.Draft {
		d := f.issueDraft(n)
		digest := model.DigestOf([]byte("the file")).String()
		file := `"file":{"sealed":true,"sha256":"` + digest + `","sm3":"` + digest + `"},`
		c, err := model.Canonicalize(bytes.Replace(d.Body, []byte(`{"value":{`), []byte(`{"value":{`+file), 1))
		if err != nil {
			t.Fatal(err)
		}
		d.Body = c
		return d
	}
	if _, err := f.accept("", withFile(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.accept("", withFile(2)); code(err) != model.CodeNumberTaken {
		t.Errorf("while pending: %v", err)
	}
	f.commit()
	if _, err := f.accept("", withFile(3)); code(err) != model.CodeNumberTaken {
		t.Errorf("once recorded: %v", err)
	}
}
