package verify_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/verify"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// TestVerdicts asks about licences in all standings, twice each: from the records, and from the cache.
func TestVerdicts(t *testing.T) {
	r := newRig(t)
	sha, sm3 := model.DigestOf([]byte("file")), model.DigestOf([]byte("other"))
	plain := r.issue(1, func(l *model.Licence) { l.File = &model.FileDigest{Sealed: true, SHA256: sha, SM3: sm3} })
	r.issue(2, nil)
	r.act(model.LicenceSuspend, 2, 2, "2026-05-20")
	r.issue(3, nil)
	r.act(model.LicenceCancel, 3, 2, today)
	r.issue(4, func(l *model.Licence) { l.ValidUntil = "2026-05-31" })
	r.issue(5, func(l *model.Licence) { l.ValidFrom = "2026-07-01" })
	was := r.issue(6, nil)
	changed := was
	changed.Number = "CHANGED"
	is := r.amend(model.ChangeOf, 6, 2, "2026-05-01", was, changed)
	wrong := r.issue(7, nil)
	right := wrong
	right.HolderName = "更正后的名称有限公司"
	r.amend(model.Correct, 7, 2, today, wrong, right)
	r.issue(8, func(l *model.Licence) { l.Number = "TWICE" })
	r.issue(9, func(l *model.Licence) { l.Number = "TWICE" })
	r.issue(10, func(l *model.Licence) { l.Number = "AGAIN" })
	r.act(model.LicenceVoidLost, 10, 2, "2026-05-01")
	anew := r.licence(11, func(l *model.Licence) { l.Number, l.IssuedOn = "AGAIN", "2026-05-10" })
	r.submit(operation(model.LicenceIssue, 11, 1, model.Date("2026-05-10").Start().Add(time.Hour), model.IssueBody{Value: anew}))
	bad := r.licence(12, nil)
	bad.HolderName = "签章之后改名有限公司"
	r.submit(operation(model.LicenceIssue, 12, 1, issued.Start().Add(time.Hour), model.IssueBody{Value: bad}))

	number := func(n string) model.Query { return model.Query{Number: n, Type: contracttest.BusinessLicence} }
	on := func(q model.Query, at model.Date) model.Query { q.At = at; return q }
	known := func(q model.Query, at model.Date) model.Query { q.KnownAt = at; return q }
	rec := func(serial int) model.Query { return model.Query{Record: record(serial)} }
	tests := []struct {
		name   string
		q      model.Query
		word   model.Word
		reason model.Reason
		since  model.Date
	}{
		{"by record", rec(1), model.Valid, model.ReasonInForce, issued},
		{"by identifier", model.Query{Identifier: plain.Identifier}, model.Valid, model.ReasonInForce, issued},
		{"by number", number(plain.Number), model.Valid, model.ReasonInForce, issued},
		{"by file", model.Query{File: sha.String()}, model.Valid, model.ReasonInForce, issued},
		{"by file, SM3", model.Query{File: sm3.String()}, model.Valid, model.ReasonInForce, issued},
		{"before issue", on(rec(1), "2026-01-04"), model.NotValid, model.ReasonNotYetIssued, ""},
		{"not yet known", known(rec(1), "2026-01-04"), model.NotValid, model.ReasonNotYetIssued, ""},
		{"unknown record", rec(99), model.NotValid, model.ReasonNotFound, ""},
		{"unknown identifier", model.Query{Identifier: contracttest.Identifier(plain, 99, 1)}, model.NotValid, model.ReasonNotFound, ""},
		{"unknown number", number("NONE"), model.NotValid, model.ReasonNotFound, ""},
		{"unknown file", model.Query{File: strings.Repeat("ab", 32)}, model.NotValid, model.ReasonNotFound, ""},
		{"nothing asked", model.Query{}, model.NotValid, model.ReasonNotFound, ""},
		{"suspended", rec(2), model.NotValid, model.Reason(model.Suspended), "2026-05-20"},
		{"suspended later than asked", on(rec(2), "2026-05-19"), model.Valid, model.ReasonInForce, issued},
		{"suspension not known yet", known(rec(2), "2026-05-31"), model.Valid, model.ReasonInForce, issued},
		{"cancelled", rec(3), model.NotValid, model.Reason(model.Cancelled), today},
		{"valid until yesterday", rec(4), model.NotValid, model.ReasonExpired, today},
		{"on its last day", on(rec(4), "2026-05-31"), model.Valid, model.ReasonInForce, issued},
		{"valid from next month", rec(5), model.NotValid, model.ReasonNotYetValid, ""},
		{"changed", model.Query{Identifier: is.Identifier}, model.Valid, model.ReasonInForce, issued},
		{"its old identifier", model.Query{Identifier: was.Identifier}, model.NotValid, model.ReasonSuperseded, ""},
		{"its old identifier in its day", on(model.Query{Identifier: was.Identifier}, "2026-04-30"), model.Valid, model.ReasonInForce, issued},
		{"its old number", number(was.Number), model.NotValid, model.ReasonSuperseded, ""},
		{"its old number in its day", on(number(was.Number), "2026-04-30"), model.Valid, model.ReasonInForce, issued},
		{"its new number", number("CHANGED"), model.Valid, model.ReasonInForce, issued},
		{"corrected", rec(7), model.Valid, model.ReasonInForce, issued},
		{"duplicate", number("TWICE"), model.Undetermined, model.ReasonDuplicate, ""},
		{"duplicate by record", rec(8), model.Undetermined, model.ReasonDuplicate, ""},
		{"issued anew under its number", number("AGAIN"), model.Valid, model.ReasonInForce, issued},
		{"the lost one under that number", on(number("AGAIN"), "2026-04-01"), model.Valid, model.ReasonInForce, issued},
		{"the lost one itself", rec(10), model.NotValid, model.Reason(model.VoidLost), "2026-05-01"},
		{"altered after signing", rec(12), model.NotValid, model.ReasonSignature, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, from := range []string{"records", "cache"} {
				v := r.ask(tt.q)
				if v.Verdict != tt.word || v.Reason != tt.reason || v.Since != tt.since {
					t.Errorf("from %s: %s %s since %q, want %s %s since %q", from, v.Verdict, v.Reason, v.Since, tt.word, tt.reason, tt.since)
				}
				if v.Zh == "" || v.En == "" || v.Check == "" || v.Height != r.store.Height() || v.Position != r.store.Position() {
					t.Errorf("from %s: %+v", from, v)
				}
				if (v.Record == nil) != (tt.reason == model.ReasonNotFound) || (v.Record != nil) != (len(v.History) > 0) {
					t.Errorf("from %s: record %v, %d versions of history", from, v.Record, len(v.History))
				}
				if tt.q.At == "" && v.At != today || tt.q.KnownAt == "" && v.KnownAt != today {
					t.Errorf("at %s, known at %s", v.At, v.KnownAt)
				}
			}
		})
	}
}

// TestTakenNames: whoever holds a paper that was once good holds it still, so its identifier and its file
// never become another licence's, and a number passes on no sooner than its licence ends.
func TestTakenNames(t *testing.T) {
	r := newRig(t)
	sha, sm3 := model.DigestOf([]byte("file")), model.DigestOf([]byte("other"))
	file := func(sha, sm3 model.Digest) *model.FileDigest {
		return &model.FileDigest{Sealed: true, SHA256: sha, SM3: sm3}
	}
	named := func(id model.LicenceID) func(*model.Licence) {
		return func(l *model.Licence) { l.Identifier = id }
	}
	was := r.issue(1, func(l *model.Licence) { l.File = file(sha, sm3) })
	is := was
	is.HolderName, is.File = "变更后的名称有限公司", nil
	is = r.amend(model.ChangeOf, 1, 2, "2026-05-01", was, is)
	cancelled := r.issue(2, func(l *model.Licence) { l.File = file(model.DigestOf([]byte("2")), model.DigestOf([]byte("3"))) })
	r.act(model.LicenceCancel, 2, 2, "2026-05-01")
	r.issue(3, func(l *model.Licence) { l.Number = "LATER" })
	r.act(model.LicenceCancel, 3, 2, "2026-07-01")
	freed := r.issue(4, nil)
	r.act(model.LicenceRevoke, 4, 2, "2026-05-01")
	number := func(n string) model.Query { return model.Query{Number: n, Type: contracttest.BusinessLicence} }
	look := func(when string, q model.Query, word model.Word, reason model.Reason) {
		t.Helper()
		for range 2 { // the second time from the cache
			if v := r.ask(q); v.Verdict != word || v.Reason != reason {
				t.Errorf("%s: %+v: %s %s, want %s %s", when, q, v.Verdict, v.Reason, word, reason)
			}
		}
	}
	taken := func(q model.Query) {
		t.Helper()
		look("taken", q, model.Undetermined, model.ReasonDuplicate)
	}
	look("before", model.Query{Identifier: was.Identifier}, model.NotValid, model.ReasonSuperseded)
	look("before", model.Query{Identifier: cancelled.Identifier}, model.NotValid, model.Reason(model.Cancelled))
	look("before", model.Query{File: sha.String()}, model.NotValid, model.ReasonSuperseded)
	look("before", number("LATER"), model.Valid, model.ReasonInForce)

	took := r.issue(11, named(was.Identifier))
	r.issue(12, named(cancelled.Identifier))
	r.issue(13, func(l *model.Licence) { l.Number = "LATER" })
	r.issue(14, func(l *model.Licence) { l.Number = freed.Number })
	r.issue(15, func(l *model.Licence) { l.File = file(sha, model.DigestOf([]byte("mine"))) })
	r.issue(16, func(l *model.Licence) { l.File = file(model.DigestOf([]byte("mine too")), cancelled.File.SM3) })
	for _, q := range []model.Query{
		{Identifier: was.Identifier}, {Record: record(11)}, {Identifier: cancelled.Identifier}, {Record: record(12)},
		number("LATER"), {Record: record(3)}, {Record: record(13)},
		{File: sha.String()}, {Record: record(15)}, {File: cancelled.File.SM3.String()}, {Record: record(16)},
	} {
		taken(q)
	}
	look("after", model.Query{Record: record(1)}, model.Valid, model.ReasonInForce)
	look("after", model.Query{Identifier: is.Identifier}, model.Valid, model.ReasonInForce)
	look("after", model.Query{Record: record(2)}, model.NotValid, model.Reason(model.Cancelled))
	look("after", number(freed.Number), model.Valid, model.ReasonInForce)

	// The name stays contested when the one that took it has gone on to another, even one that is still to come.
	next := took
	next.Identifier = contracttest.Identifier(was, 1, 2)
	r.sign(&next, next.Signature.Key)
	r.submit(operation(model.LicenceAmend, 11, 2, noon.Add(-time.Hour),
		model.AmendBody{Act: contracttest.Act("2026-07-01").Act, How: model.ChangeOf, Previous: took, Value: next}))
	taken(model.Query{Identifier: was.Identifier})
	r.act(model.LicenceCancel, 12, 2, today)
	taken(model.Query{Identifier: cancelled.Identifier})
}

// TestHolder: of a person's licence the ledger holds commitments only, so the verdict rests on what the
// holder shows.
func TestHolder(t *testing.T) {
	r := newRig(t)
	code, name := model.NewSalt(), model.NewSalt()
	commit := func(salt model.Salt, field, value string) model.Digest {
		d, err := model.Commit(salt, field, value)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	r.issue(1, func(l *model.Licence) {
		l.Type, l.HolderKind, l.HolderCode, l.HolderName = contracttest.PersonalLicence, model.HolderPerson, "", ""
		l.Face = map[string]any{"grade": "A"}
		l.Commitments = map[string]model.Digest{
			model.FieldHolderCode: commit(code, model.FieldHolderCode, "11010519491231002X"),
			model.FieldHolderName: commit(name, model.FieldHolderName, "样例"),
		}
		l.Identifier = contracttest.Identifier(*l, 1, 1)
	})
	right := model.Presentation{model.FieldHolderCode: {Salt: code, Value: "11010519491231002X"}}
	for _, tt := range []struct {
		name   string
		shown  model.Presentation
		word   model.Word
		reason model.Reason
	}{
		{"nothing", nil, model.Undetermined, model.ReasonSaltNeeded},
		{"the code", right, model.Valid, model.ReasonInForce},
		{"another's code", model.Presentation{model.FieldHolderCode: {Salt: code, Value: "110105194912310038"}}, model.NotValid, model.ReasonHolderMismatch},
		{"another salt", model.Presentation{model.FieldHolderCode: {Salt: name, Value: "11010519491231002X"}}, model.NotValid, model.ReasonHolderMismatch},
		{"only the name", model.Presentation{model.FieldHolderName: {Salt: name, Value: "样例"}}, model.Undetermined, model.ReasonSaltNeeded},
		{"the code and an undeclared field", model.Presentation{model.FieldHolderCode: right[model.FieldHolderCode], "x": {}}, model.NotValid, model.ReasonHolderMismatch},
	} {
		if v := r.ask(model.Query{Record: record(1), Presentation: tt.shown}); v.Verdict != tt.word || v.Reason != tt.reason {
			t.Errorf("%s: %s %s", tt.name, v.Verdict, v.Reason)
		}
	}
}

// TestRotatedKey: what was signed before a rotation stays valid, and the old key signs nothing after it.
func TestRotatedKey(t *testing.T) {
	r := newRig(t)
	r.issue(1, nil)
	for _, alg := range []envelope.Alg{"SM2", "ES256K"} {
		var a *model.Agency
		a, err := r.store.Agency("bj-scjg")
		if err != nil {
			t.Fatal(err)
		}
		old := a.Keys[len(a.Keys)-1].ID
		next := model.Key{ID: fmt.Sprintf("bj-scjg-%d", len(a.Keys)+1), Alg: string(alg)}
		next.Public = r.key(next.ID, alg)
		proof, err := r.signers[old].Sign(model.RotationBytes("bj-scjg", old, next))
		if err != nil {
			t.Fatal(err)
		}
		r.submit(contracttest.Op("bj-scjg", model.RotateKey, model.KindAgency, "bj-scjg", uint64(len(a.Keys)+1), noon,
			model.RotateBody{New: next, Retire: old, Proof: base64.RawURLEncoding.EncodeToString(proof)}))
		serial := len(a.Keys) + 1
		v := r.licence(serial, nil)
		r.sign(&v, next.ID)
		r.submit(operation(model.LicenceIssue, serial, 1, noon, model.IssueBody{Value: v}))
	}
	for serial := 1; serial <= 3; serial++ {
		if v := r.ask(model.Query{Record: record(serial)}); v.Verdict != model.Valid {
			t.Errorf("licence %d: %s %s", serial, v.Verdict, v.Reason)
		}
	}
	// Records in which the key is listed only after the licence: the same bytes are worth nothing.
	late := verify.New(verify.Config{
		Snapshot: func() verify.Snapshot { return keyless{r.store.Snapshot()} },
		Check:    func(string, []byte, []byte, []byte) error { return nil },
		Age:      func() time.Duration { return 0 }, Behind: func() bool { return false }, Clock: func() time.Time { return noon },
	})
	if v := late.Verify(t.Context(), []model.Query{{Record: record(1)}})[0]; v.Verdict != model.NotValid || v.Reason != model.ReasonSignatureUnknown {
		t.Errorf("without the key: %s %s", v.Verdict, v.Reason)
	}
}

// keyless is a snapshot of a registry without keys.
type keyless struct{ verify.Snapshot }

func (keyless) KeyAt(model.AgencyID, string, uint64) (string, []byte, bool, error) {
	return "", nil, false, nil
}

// TestAge: data that may be behind proves nothing missing, and old data gives no verdict at all.
func TestAge(t *testing.T) {
	r := newRig(t)
	r.issue(1, nil)
	for _, tt := range []struct {
		age    time.Duration
		serial int
		word   model.Word
		reason model.Reason
		last   *model.LastKnown
	}{
		{0, 1, model.Valid, model.ReasonInForce, nil},
		{9 * time.Second, 2, model.NotValid, model.ReasonNotFound, nil},
		{11 * time.Second, 2, model.Undetermined, model.ReasonBehind, nil},
		{10 * time.Minute, 1, model.Valid, model.ReasonInForce, nil},
		{10*time.Minute + 1, 1, model.Stale, model.ReasonAge, &model.LastKnown{Verdict: model.Valid, Reason: model.ReasonInForce}},
		{11 * time.Minute, 2, model.Stale, model.ReasonAge, &model.LastKnown{Verdict: model.Undetermined, Reason: model.ReasonBehind}},
		{math.MaxInt64, 1, model.Stale, model.ReasonAge, &model.LastKnown{Verdict: model.Valid, Reason: model.ReasonInForce}},
	} {
		r.age.Store(int64(tt.age))
		v := r.ask(model.Query{Record: record(tt.serial)})
		if v.Verdict != tt.word || v.Reason != tt.reason || (v.Last == nil) != (tt.last == nil) || (v.Last != nil && *v.Last != *tt.last) {
			t.Errorf("age %v: %s %s, last %+v", tt.age, v.Verdict, v.Reason, v.Last)
		}
		if v.AgeMS < 0 || v.AgeMS >= model.MaxSafeInt {
			t.Errorf("age %v is given as %d ms", tt.age, v.AgeMS)
		}
	}
}

// TestBehind: what this node has not applied, though it knows that it is there, may be what was asked for.
func TestBehind(t *testing.T) {
	r := newRig(t)
	r.issue(1, nil)
	r.behind.Store(true)
	for _, tt := range []struct {
		serial int
		word   model.Word
		reason model.Reason
	}{{1, model.Valid, model.ReasonInForce}, {2, model.Undetermined, model.ReasonBehind}} {
		if v := r.ask(model.Query{Record: record(tt.serial)}); v.Verdict != tt.word || v.Reason != tt.reason {
			t.Errorf("licence %d: %s %s", tt.serial, v.Verdict, v.Reason)
		}
	}
	r.behind.Store(false)
	r.issue(2, nil)
	for serial, word := range map[int]model.Word{2: model.Valid, 3: model.NotValid} {
		if v := r.ask(model.Query{Record: record(serial)}); v.Verdict != word {
			t.Errorf("licence %d: %s %s", serial, v.Verdict, v.Reason)
		}
	}
}

// TestHistoryIsBounded: a verdict shows the latest versions, the newest last.
func TestHistoryIsBounded(t *testing.T) {
	r := newRig(t)
	r.issue(1, nil)
	version := uint64(1)
	for range 30 {
		r.act(model.LicenceSuspend, 1, version+1, today)
		r.act(model.LicenceResume, 1, version+2, today)
		version += 2
	}
	v := r.ask(model.Query{Record: record(1)})
	if v.Verdict != model.Valid || len(v.History) != 50 || v.History[49].Version != version || v.History[0].Version != version-49 {
		t.Errorf("%s, %d versions from %d to %d", v.Verdict, len(v.History), v.History[0].Version, v.History[len(v.History)-1].Version)
	}
}

// TestChangesAreSeen: while a licence is suspended and resumed, every answer is right for the position that
// it names, whether it comes from the cache or not.
func TestChangesAreSeen(t *testing.T) {
	r := newRig(t)
	v := r.issue(1, nil)
	first := r.store.Position() // the leaf of the first change; odd changes suspend
	const changes = 60
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := 0; ; i++ {
				q := model.Query{Identifier: v.Identifier}
				if i%2 == 0 {
					q = model.Query{Record: record(1)}
				}
				for _, x := range r.service.Verify(context.Background(), []model.Query{q, q}) {
					if suspended := (x.Position-first)%2 == 1; suspended != (x.Reason == model.Reason(model.Suspended)) {
						t.Errorf("%s %s at position %d", x.Verdict, x.Reason, x.Position)
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range uint64(changes) {
		if i%2 == 0 {
			r.act(model.LicenceSuspend, 1, i+2, today)
		} else {
			r.act(model.LicenceResume, 1, i+2, today)
		}
	}
	close(done)
	readers.Wait()
}

// TestUnreadable: records that cannot be read give no verdict that anybody could rely on.
func TestUnreadable(t *testing.T) {
	r := newRig(t)
	r.issue(1, nil)
	s := verify.New(verify.Config{
		Snapshot: func() verify.Snapshot { return unreadable{r.store.Snapshot()} },
		Age:      func() time.Duration { return 0 }, Behind: func() bool { return false },
	})
	if v := s.Verify(t.Context(), []model.Query{{Record: record(1)}})[0]; v.Verdict != model.Undetermined || v.En == "" || v.Check == "" {
		t.Errorf("%+v", v)
	}
}

type unreadable struct{ verify.Snapshot }

func (unreadable) View(model.Kind, model.RecordID) (*model.View, error) {
	return nil, model.E(model.CodeInternal)
}
