package inbox

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// rig is an inbox whose clock and disk a test moves.
type rig struct {
	*Inbox
	t       testing.TB
	dir     string
	cfg     Config
	now     time.Time
	elapsed time.Duration
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "inbox"), now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), elapsed: time.Minute}
	r.cfg = Config{
		Every: -1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Clock: func() time.Time { return r.now }, Elapsed: func() time.Duration { return r.elapsed },
	}
	for _, f := range change {
		f(&r.cfg)
	}
	if err := Create(r.dir); err != nil {
		t.Fatal(err)
	}
	r.open()
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *rig) open() {
	r.t.Helper()
	in, err := Open(r.dir, r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Inbox = in
}

// reopen is what a new process finds. Everything that was answered is synced, so closing loses nothing that a crash
// would keep.
func (r *rig) reopen() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// pass lets time pass, for the clock and the machine alike.
func (r *rig) pass(d time.Duration) {
	r.now, r.elapsed = r.now.Add(d), r.elapsed+d
}

// settle lets the clock be believed.
func (r *rig) settle() {
	r.t.Helper()
	for range 3 {
		r.pass(r.Inbox.cfg.Settle / 2)
		if err := r.Tick(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func person(name string) Person {
	return Person{Principal: "usr-" + name, Pseudonym: model.Pseudonym("0000000000000000000000000000000" + name[:1]), Name: name, Agency: "bj-scjg"}
}

var (
	ann = person("a-ann")
	bob = person("b-bob")
	cyd = person("c-cyd")
)

func cancel(record model.RecordID) model.Draft {
	return model.Draft{Agency: "bj-scjg", Type: model.LicenceCancel, Kind: model.KindLicence, Record: record, Body: []byte(`{"reason":"<closed> & 停业"}`)}
}

func request(who Person, key string, drafts ...model.Draft) Request {
	return Request{Drafter: who, Key: key, Digest: model.DigestOf([]byte(key)), Rules: []Rule{Endings}, Drafts: drafts, Versions: make([]uint64, len(drafts))}
}

func (r *rig) hold(q Request) *Held {
	r.t.Helper()
	h, err := r.Hold(q)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *rig) get(id string) *Held {
	r.t.Helper()
	h, err := r.Get(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func code(err error) model.Code {
	if err == nil {
		return ""
	}
	return model.AsError(err).Code
}
