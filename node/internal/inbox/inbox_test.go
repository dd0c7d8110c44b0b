package inbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Every type of operation is placed: a new one is held or free because somebody meant it.
func TestRulesPlaceEveryType(t *testing.T) {
	free := []model.Type{
		model.Genesis, model.ImportClosed, model.AnchorAccess, model.CloseProposal,
		model.LicenceIssue, model.LicenceAmend, model.LicenceSuspend, model.LicenceResume, model.LicenceDormant, model.LicenceRenew, model.LicenceTransfer,
	}
	for typ := range model.Types {
		if (ruled[typ] == "") != slices.Contains(free, typ) {
			t.Errorf("%s is placed in both lists or in none", typ)
		}
	}
	for typ, r := range ruled {
		if _, ok := Rules[r]; !ok {
			t.Errorf("%s falls under %q, which is no rule", typ, r)
		}
		if next, err := model.Machines[model.KindLicence].Next(model.InForce, typ); err == nil && next.Ended() != (r == Endings) {
			t.Errorf("%s ends a licence in %s, and its rule is %q", typ, next, r)
		}
	}
}

func TestPolicy(t *testing.T) {
	var p Policy
	p.defaults()
	many := func(n int) []model.Draft { return slices.Repeat([]model.Draft{{Type: model.LicenceIssue}}, n) }
	for _, tt := range []struct {
		name   string
		drafts []model.Draft
		want   []Rule
	}{
		{"one issue", many(1), nil},
		{"an array at the limit", many(200), nil},
		{"an array above it", many(201), []Rule{Batches}},
		{"an ending", []model.Draft{cancel("bj-scjg.1")}, []Rule{Endings}},
		{"an ending among issues", append(many(3), cancel("bj-scjg.1")), []Rule{Endings}},
		{"endings above the limit", slices.Repeat([]model.Draft{cancel("bj-scjg.1")}, 201), []Rule{Batches, Endings}},
		{"days taken by an amendment", []model.Draft{{Type: model.LicenceAmend}}, []Rule{Endings}},
		{"days taken, and an ending", []model.Draft{{Type: model.LicenceAmend}, cancel("bj-scjg.1")}, []Rule{Endings}},
		{"days taken in a large array", slices.Repeat([]model.Draft{{Type: model.LicenceAmend}}, 201), []Rule{Batches, Endings}},
		{"an amendment that takes none", []model.Draft{{Type: model.LicenceAmend}}, nil},
		{"a key and a delegation", []model.Draft{{Type: model.RotateKey}, {Type: model.Delegate}}, []Rule{Keys, Registry}},
	} {
		if got := p.Falls(tt.drafts, strings.HasPrefix(tt.name, "days taken")); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	p.Off = []Rule{Endings}
	if got := p.InForce([]Rule{Batches, Endings}); !slices.Equal(got, []Rule{Batches}) {
		t.Errorf("in force: %v", got)
	}
	for _, bad := range []Policy{{BatchOver: -1}, {BatchOver: 1e9}, {Expires: time.Second}, {Expires: 1e18}, {Off: []Rule{"all"}, Reason: "x"}, {Off: []Rule{Keys}}} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// What is held comes back byte for byte, in another process too, and as it was asked for where it is sent once more.
func TestHeldIsKeptWhole(t *testing.T) {
	r := newRig(t)
	secret := model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Kind: model.KindLicence, Body: []byte(`{"value":{"holder_name":"\u003c甲 & 乙 ` + "\u2028" + `"}}`),
		Confidential: &model.LicenceConfidential{HolderCode: "11010519491231002X", HolderName: "张三", Face: map[string]any{"grade": "一级"}}}
	q := request(ann, "k", cancel("bj-scjg.7"), secret)
	q.Versions = []uint64{4, 0}
	h := r.hold(q)
	r.reopen()
	got := r.get(h.ID)
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", h); a != b {
		t.Errorf("read back\n%s, want\n%s", a, b)
	}
	for _, anew := range []bool{false, true} {
		ops, err := r.Operations(got, anew)
		if err != nil || len(ops) != 2 {
			t.Fatal(ops, err)
		}
		want := uint64(4)
		if anew {
			want = 0
		}
		if ops[0].Version != want || string(ops[0].Body) != string(q.Drafts[0].Body) || ops[0].Record != "bj-scjg.7" {
			t.Errorf("anew %v: %+v", anew, ops[0])
		}
		if string(ops[1].Body) != string(secret.Body) || ops[1].Confidential.HolderName != "张三" || ops[1].Confidential.Face["grade"] != "一级" {
			t.Errorf("anew %v: %+v", anew, ops[1])
		}
	}
	if ids := got.IDs(); ids[1] != model.DeriveOpID("bj-scjg", ann.Principal, "k", 1) {
		t.Errorf("ids %v", ids)
	}
	// Only its owner may read what it holds.
	if err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		info, e := d.Info()
		if err != nil || e != nil {
			return errors.Join(err, e)
		}
		text := d.Name() == "LOCK" || d.Name() == "LOG" || strings.HasPrefix(d.Name(), "CURRENT") // goleveldb's own, which hold nothing of ours
		if info.Mode().Perm()&0o077 != 0 && !text {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// The same drafter, key and digest are the same draft; another digest is a mistake; another drafter another request.
func TestSameKeySameDraft(t *testing.T) {
	r := newRig(t)
	q := request(ann, "k", cancel("bj-scjg.1"))
	var wg sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wg.Go(func() { ids[i] = r.hold(q).ID })
	}
	wg.Wait()
	if ids = slices.Compact(ids); len(ids) != 1 || ids[0] == "" {
		t.Errorf("drafts %v", ids)
	}
	other := q
	other.Digest = model.DigestOf([]byte("another"))
	if _, err := r.Hold(other); code(err) != model.CodeIdempotencyMismatch {
		t.Errorf("another content: %v", err)
	}
	q.Drafter = bob
	if r.hold(q).ID == ids[0] {
		t.Error("another person's request is taken for the first")
	}
	q.Key = ""
	if a, b := r.hold(q), r.hold(q); a.ID == b.ID || a.Key == b.Key || a.Given {
		t.Errorf("without a key: %+v %+v", a, b)
	}
	if n, _ := r.Waiting(); n != 4 {
		t.Errorf("%d wait", n)
	}
}

// Who decides what, and what an answer says that comes too late.
func TestDecisions(t *testing.T) {
	r := newRig(t)
	twin := ann // another key of the same user: the same person
	twin.Name = "ann's other key"
	alias := person("z-ann")
	alias.Pseudonym = ann.Pseudonym
	for _, tt := range []struct {
		name string
		do   func(h *Held) (*Held, error)
		want model.Code
		then State
	}{
		{"the drafter approves", func(h *Held) (*Held, error) { return r.Approve(h.ID, ann, h.Content) }, model.CodeOwnDraft, Pending},
		{"the drafter's other key", func(h *Held) (*Held, error) { return r.Approve(h.ID, twin, h.Content) }, model.CodeOwnDraft, Pending},
		{"one pseudonym", func(h *Held) (*Held, error) { return r.Approve(h.ID, alias, h.Content) }, model.CodeOwnDraft, Pending},
		{"the drafter rejects", func(h *Held) (*Held, error) { return r.Reject(h.ID, ann, "no") }, model.CodeOwnDraft, Pending},
		{"another content", func(h *Held) (*Held, error) { return r.Approve(h.ID, bob, model.DigestOf(nil)) }, model.CodeDraftChanged, Pending},
		{"rejected without a reason", func(h *Held) (*Held, error) { return r.Reject(h.ID, bob, "") }, model.CodeMissingField, Pending},
		{"withdrawn by another", func(h *Held) (*Held, error) { return r.Withdraw(h.ID, bob) }, model.CodeForbidden, Pending},
		{"another id", func(h *Held) (*Held, error) { return r.Approve(h.ID+"x", bob, h.Content) }, model.CodeNotFound, Pending},
		{"approved", func(h *Held) (*Held, error) { return r.Approve(h.ID, bob, h.Content) }, "", Approved},
		{"rejected", func(h *Held) (*Held, error) { return r.Reject(h.ID, bob, "缺材料") }, "", Rejected},
		{"withdrawn", func(h *Held) (*Held, error) { return r.Withdraw(h.ID, ann) }, "", Withdrawn},
	} {
		h := r.hold(request(ann, tt.name, cancel("bj-scjg.1")))
		if _, err := tt.do(h); code(err) != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		r.reopen()
		now := r.get(h.ID)
		if now.State != tt.then || (tt.then == Pending) != (now.Decision == nil) {
			t.Errorf("%s: %+v", tt.name, now)
		}
		if tt.then == Pending {
			continue
		}
		for _, again := range []func() (*Held, error){
			func() (*Held, error) { return r.Approve(h.ID, cyd, h.Content) }, func() (*Held, error) { return r.Reject(h.ID, cyd, "no") },
			func() (*Held, error) { return r.Withdraw(h.ID, ann) },
		} {
			if late, err := again(); code(err) != model.CodeAlreadyDecided || late == nil || late.State != tt.then {
				t.Errorf("%s, decided again: %+v %v", tt.name, late, err)
			}
		}
	}
}

// Of many who approve and reject at once, one decides, and all others hear what was decided.
func TestTwoApproversAtOnce(t *testing.T) {
	r := newRig(t)
	for round := range 20 {
		h := r.hold(request(ann, fmt.Sprint("k", round), cancel("bj-scjg.1")))
		var mu sync.Mutex
		var wg sync.WaitGroup
		won, heard := []State{}, map[State]int{}
		for i := range 12 {
			who := person(fmt.Sprintf("%x-approver", i))
			who.Principal = fmt.Sprint("usr-", i)
			who.Pseudonym = model.Pseudonym(fmt.Sprintf("%032x", 100+i))
			wg.Go(func() {
				var d *Held
				var err error
				if i%3 == 0 {
					d, err = r.Reject(h.ID, who, "no")
				} else {
					d, err = r.Approve(h.ID, who, h.Content)
				}
				mu.Lock()
				defer mu.Unlock()
				switch code(err) {
				case "":
					won = append(won, d.State)
				case model.CodeAlreadyDecided:
					heard[d.State]++
				default:
					t.Errorf("heard %v", err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 || heard[won[0]] != 11 || r.get(h.ID).State != won[0] {
			t.Fatalf("decided %v, heard %v, stands %s", won, heard, r.get(h.ID).State)
		}
		if approved := won[0] == Approved; approved != slices.Contains(r.Unsent(), h.ID) {
			t.Errorf("%s, and unsent are %v", won[0], r.Unsent())
		}
	}
}

// An approved draft is on its way until intake has spoken, in every process that opens the inbox.
func TestApprovedIsSentOnce(t *testing.T) {
	r := newRig(t)
	a, b := r.hold(request(ann, "a", cancel("bj-scjg.1"))), r.hold(request(ann, "b", cancel("bj-scjg.2")))
	for _, h := range []*Held{a, b} {
		if _, err := r.Approve(h.ID, bob, h.Content); err != nil {
			t.Fatal(err)
		}
	}
	r.reopen()
	if u := r.Unsent(); len(u) != 2 {
		t.Fatalf("unsent after a crash: %v", u)
	}
	if _, err := r.Sent(a.ID, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sent(b.ID, model.E(model.CodeTransition).Problem()); err != nil {
		t.Fatal(err)
	}
	// What stands stays: a second answer, of the same request sent twice, changes nothing.
	if _, err := r.Sent(a.ID, model.E(model.CodeTransition).Problem()); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if u := r.Unsent(); len(u) != 0 {
		t.Errorf("unsent: %v", u)
	}
	if a, b = r.get(a.ID), r.get(b.ID); !a.Sent || a.Problem != nil || b.Sent || b.Problem == nil || b.Problem.Code != model.CodeTransition {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestPages(t *testing.T) {
	r := newRig(t)
	var all []string
	for i := range 25 {
		who := ann
		if i%5 == 0 {
			who = bob
		}
		h := r.hold(request(who, fmt.Sprint(i), cancel("bj-scjg.1")))
		if all = append(all, h.ID); i%2 == 1 {
			if _, err := r.Reject(h.ID, cyd, "no"); err != nil {
				t.Fatal(err)
			}
		}
	}
	walk := func(q Query) (ids []string) {
		for q.Limit = 4; ; {
			page, next, err := r.List(q)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range page {
				ids = append(ids, h.ID)
			}
			if q.After = next; next == "" {
				return ids
			}
			r.hold(request(person("d-dan"), "between"+next, cancel("bj-scjg.1"))) // pages stay right under writes
		}
	}
	pick := func(keep func(int) bool) (ids []string) {
		for i, id := range all {
			if keep(i) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for name, tt := range map[string]struct{ got, want []string }{
		"bob's":         {walk(Query{Drafter: bob.Principal}), pick(func(i int) bool { return i%5 == 0 })},
		"rejected":      {walk(Query{State: Rejected}), pick(func(i int) bool { return i%2 == 1 })},
		"bob's pending": {walk(Query{State: Pending, Drafter: bob.Principal}), pick(func(i int) bool { return i%10 == 0 })},
		"visible": {walk(Query{State: Rejected, Visible: func(h *Held) bool { return h.Drafter.Principal == bob.Principal }}),
			pick(func(i int) bool { return i%10 == 5 })},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", name, tt.got, tt.want)
		}
	}
	if ids := walk(Query{}); !slices.Equal(ids[:25], all) {
		t.Errorf("all: %v", ids)
	}
	for _, q := range []Query{{State: "lost", Limit: 1}, {After: "x", Limit: 1}} {
		if _, _, err := r.List(q); code(err) == "" || model.AsError(err).Kind() != model.Invalid {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func TestBounds(t *testing.T) {
	full := false
	r := newRig(t, func(c *Config) { c.MaxWaiting, c.MaxBytes, c.Full = 3, 10_000, func() bool { return full } })
	for i := range 3 {
		r.hold(request(ann, fmt.Sprint(i), cancel("bj-scjg.1")))
	}
	if _, err := r.Hold(request(ann, "more", cancel("bj-scjg.1"))); code(err) != model.CodeInboxFull {
		t.Errorf("a fourth: %v", err)
	}
	if again := r.hold(request(ann, "0", cancel("bj-scjg.1"))); again.ID == "" { // known, though the inbox is full
		t.Error("no draft")
	}
	first := r.hold(request(ann, "1", cancel("bj-scjg.1")))
	full = true // decisions go on
	if _, err := r.Approve(first.ID, bob, first.Content); err != nil {
		t.Errorf("on a full disk: %v", err)
	}
	if _, err := r.Hold(request(ann, "more", cancel("bj-scjg.1"))); code(err) != model.CodeStorageFull {
		t.Errorf("on a full disk: %v", err)
	}
	full = false
	big := cancel("bj-scjg.1")
	big.Body = []byte(`{"reason":"` + string(slices.Repeat([]byte("x"), 10_000)) + `"}`)
	if _, err := r.Hold(request(ann, "big", big)); code(err) != model.CodeInboxFull {
		t.Errorf("too many bytes: %v", err)
	}
	r.hold(request(ann, "more", cancel("bj-scjg.1")))
}

// One person's drafts leave room for the others'.
func TestEachHasRoom(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxEach = 2 })
	first := r.hold(request(ann, "1", cancel("bj-scjg.1")))
	r.hold(request(ann, "2", cancel("bj-scjg.1")))
	r.reopen()
	if _, err := r.Hold(request(ann, "3", cancel("bj-scjg.1"))); code(err) != model.CodeInboxFull {
		t.Errorf("a third: %v", err)
	}
	r.hold(request(bob, "3", cancel("bj-scjg.1")))
	if _, err := r.Withdraw(first.ID, ann); err != nil {
		t.Fatal(err)
	}
	r.hold(request(ann, "3", cancel("bj-scjg.1")))
}

// A write that fails is answered with what is known, and the next one opens the database anew and finds what is there.
func TestFailedWrite(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprint("applied ", applied), func(t *testing.T) {
			r := newRig(t)
			kept := r.hold(request(ann, "kept", cancel("bj-scjg.1")))
			good := r.write
			fail := func(db *database, b *leveldb.Batch) error {
				if applied {
					if err := good(db, b); err != nil {
						return err
					}
				}
				return errors.New("injected: the disk failed")
			}
			r.write = fail
			if _, err := r.Hold(request(ann, "lost", cancel("bj-scjg.2"))); code(err) != model.CodeOutcomeUnknown {
				t.Fatalf("held: %v", err)
			}
			r.write = good
			h := r.hold(request(ann, "lost", cancel("bj-scjg.2"))) // the same key tells, or holds it now
			r.elapsed += 2 * retryAfter
			r.write = fail
			if _, err := r.Approve(kept.ID, bob, kept.Content); code(err) != model.CodeOutcomeUnknown {
				t.Fatalf("approved: %v", err)
			}
			r.write = good
			_, err := r.Approve(kept.ID, bob, kept.Content)
			if applied && code(err) == "" || !applied && err != nil && code(err) != model.CodeStorageFull {
				t.Errorf("approved again: %v", err)
			}
			r.elapsed += 2 * retryAfter
			third := r.hold(request(ann, "third", cancel("bj-scjg.3")))
			if n, _ := r.Waiting(); n != 2 {
				t.Errorf("%d wait, want %s and %s", n, h.ID, third.ID)
			}
			if _, err := r.Withdraw(h.ID, ann); err != nil {
				t.Error(err)
			}
			if u := r.Unsent(); len(u) != 1 || r.get(kept.ID).State != Approved {
				t.Errorf("unsent %v, %+v", u, r.get(kept.ID))
			}
		})
	}
}

func TestNeverMadeSilently(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inbox")
	if _, err := Open(dir, Config{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening nothing: %v", err)
	}
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir); err == nil {
		t.Error("creating twice")
	}
	in, err := Open(dir, Config{Every: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Config{}); err == nil {
		t.Error("two processes open one inbox")
	}
	if err := in.db.Put(formatKey, []byte("2"), nil); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Config{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("another format: %v", err)
	}
}

// FuzzContent: what is stored of any draft that the API lets in is what is read.
func FuzzContent(f *testing.F) {
	f.Add([]byte(`{"a":1}`), "11010519491231002X", uint64(3))
	f.Add([]byte(`{"a":"\u003c"}`), "<&>", uint64(0))
	f.Fuzz(func(t *testing.T, body []byte, secret string, version uint64) {
		canonical, err := model.Canonicalize(body)
		if err != nil || len(canonical) == 0 || canonical[0] != '{' {
			return
		}
		raw, err := encode(map[string]string{"holder_code": secret})
		if err != nil {
			return
		}
		var c model.LicenceConfidential
		if _, err := model.DecodeStrict(raw, &c); err != nil {
			return
		}
		d := model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Body: json.RawMessage(canonical), Confidential: &c, Version: version}
		stored, err := encodeContent([]model.Draft{d}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeContent(stored, false)
		if err != nil || len(back) != 1 || string(back[0].Body) != string(canonical) || back[0].Confidential.HolderCode != c.HolderCode || back[0].Version != version {
			t.Fatalf("%q came back as %+v, %v", canonical, back, err)
		}
	})
}

// The same does not wait twice, whoever asks for it, also after a restart; decided, it may be asked for again.
func TestSameWaitsOnce(t *testing.T) {
	r := newRig(t)
	same := func(who Person, key string) Request {
		q := request(who, key, cancel("bj-scjg.1"))
		q.Same = model.DigestOf([]byte("cancel bj-scjg.1"))
		return q
	}
	first := r.hold(same(ann, "1"))
	refused := func(q Request) {
		t.Helper()
		h, err := r.Hold(q)
		if code(err) != model.CodeAlreadyDrafted || !strings.Contains(err.Error(), first.ID) {
			t.Errorf("%+v, %v", h, err)
		}
	}
	refused(same(ann, "2"))
	refused(same(cyd, "1"))
	if h := r.hold(same(ann, "1")); h.ID != first.ID {
		t.Errorf("under its own key it is %s", h.ID)
	}
	r.reopen()
	refused(same(cyd, ""))
	if n, _ := r.Waiting(); n != 1 {
		t.Errorf("%d wait", n)
	}
	if h, err := r.Reject(first.ID, bob, "no"); err != nil || !h.Same.IsZero() {
		t.Fatalf("%+v, %v", h, err)
	}
	r.reopen()
	if h := r.get(first.ID); !h.Same.IsZero() {
		t.Error("the digest outlasts the decision")
	}
	second := r.hold(same(cyd, "1"))
	first = second
	refused(same(ann, "3"))
}
