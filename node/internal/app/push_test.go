package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/node/internal/doctor"
	"github.com/zhenglian/zhenglian/node/internal/push"
	"github.com/zhenglian/zhenglian/sdk"
)

// A source's units count once whatever is lost of the node beside the ledger and whoever's key the source has by then, the
// access log says in whose name they were accepted, and who can write to the source approves nothing that comes by it.
func TestPushedAgain(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("beijing")
	w.until("there is a ledger", func() bool { return w.position("beijing") > 0 })
	whoami := func(role string) sdk.Whoami {
		t.Helper()
		me, err := w.client("beijing", role).Whoami(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return me
	}
	drafter, approver := whoami("drafter"), whoami("approver")
	stop()

	inbox, last := t.TempDir(), uint64(0)
	key := func(role string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(w.node("beijing"), "inbox.key"), []byte(w.client("beijing", role).Key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key("drafter")
	w.configure("beijing", fmt.Sprintf("push:\n  folders:\n    - {name: inbox, dir: %q, key_file: inbox.key, writers: [%s], settle: 100ms, poll: 100ms}\n", inbox, approver.ID))
	put := func(name string, d model.Draft) {
		t.Helper()
		raw, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(filepath.Join(inbox, name), raw, 0o600), os.WriteFile(filepath.Join(inbox, name+".ok"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	answer := func(file string, state push.State) (a struct {
		Operations []push.Answer `json:"operations"`
	}) {
		t.Helper()
		w.until(file+" is "+string(state), func() bool {
			raw, err := os.ReadFile(filepath.Join(inbox, file))
			return err == nil && json.Unmarshal(raw, &a) == nil && len(a.Operations) == 1 && a.Operations[0].State == state
		})
		return a
	}
	today := model.DateOf(time.Now())
	uscc, err := model.InventUSCC("91110105X", 7)
	if err != nil {
		t.Fatal(err)
	}
	licence, err := (&sdk.NewLicence{Type: demo.BusinessLicence, Number: "P-1", Holder: sdk.Holder{Code: string(uscc), Name: "样例有限公司"}}).Draft(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stop = w.serve("beijing")
	put("one.json", licence)
	first := answer("done/one.json.answer.json", push.Committed).Operations[0]

	// Its ending waits for another person, who is none of those that can write to the folder.
	end, err := (&sdk.LicenceAct{
		Decision: model.Decision{Number: "京市监〔2026〕1号", Date: today}, Effective: today, Reason: "holder-request",
	}).Draft(model.LicenceCancel, first.Record)
	if err != nil {
		t.Fatal(err)
	}
	put("end.json", end)
	held := answer("taken/end.json.answer.json", push.Held).Operations[0]
	d, err := w.client("beijing", "approver").Draft(t.Context(), held.Draft, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d.Draft.MayDecide || !strings.Contains(d.Draft.Zh, "由来源 folder/inbox 送来") {
		t.Errorf("%+v", d.Draft)
	}
	if _, err := w.client("beijing", "approver").ApproveDraft(t.Context(), held.Draft, d.Draft.Content, sdk.Write{}); model.AsError(err).Code != model.CodeOwnDraft {
		t.Errorf("a writer approves: %v", err)
	}
	w.until("the access log has it as his own draft", func() bool {
		for e, err := range w.client("beijing", "auditor").Access(t.Context(), sdk.AccessQuery{Person: approver.ID}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Policy == "own-draft" && !e.Allowed {
				return true
			}
		}
		return false
	})
	// Nor when another has rejected it, and the key's owner sends it again.
	people, err := app.People(w.config("beijing"))
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := people.Issue(auth.Grant{Name: "another", Agency: organisations[0].agency, Roles: []auth.Role{auth.Approver}})
	if err != nil {
		t.Fatal(err)
	}
	another := &sdk.Client{BaseURL: w.url["beijing"], Key: text}
	w.until("the node knows the key", func() bool { _, err := another.Whoami(t.Context()); return err == nil })
	if _, err := another.RejectDraft(t.Context(), held.Draft, "not this one"); err != nil {
		t.Fatal(err)
	}
	resent, err := w.client("beijing", "drafter").ResendDraft(t.Context(), held.Draft)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client("beijing", "approver").ApproveDraft(t.Context(), resent.ID, resent.Content, sdk.Write{}); model.AsError(err).Code != model.CodeOwnDraft {
		t.Errorf("a writer approves what is sent again: %v", err)
	}

	recovered := func(person, name string) {
		t.Helper()
		w.until("the access log says by whom", func() bool {
			for e, err := range w.client("beijing", "auditor").Access(t.Context(), sdk.AccessQuery{Record: sdk.AccessRecord{Kind: model.KindLicence, ID: string(first.Record)}}) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Route == "push" && e.Person == person && e.Name == name && e.Pseudonym == drafter.Person && e.Action == string(model.LicenceIssue) && e.Allowed &&
					e.Sequence > last {
					last = e.Sequence
					return true
				}
			}
			return false
		})
	}
	again := func(person, name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(inbox, "done/one.json.answer.json")); err != nil {
			t.Fatal(err)
		}
		stop = w.serve("beijing")
		put("one.json", licence)
		if o := answer("done/one.json.answer.json", push.Committed).Operations[0]; o.Operation != first.Operation || o.Record != first.Record {
			t.Errorf("%+v, was %+v", o, first)
		}
		recovered(person, name)
	}
	recovered(drafter.ID, drafter.Name) // as it was taken

	// The process ended before it was taken down that the unit is accepted; meanwhile the source has another's key.
	stop()
	key("verifier")
	journal := filepath.Join(w.node("beijing"), "push")
	db, err := leveldb.OpenFile(journal, nil)
	if err != nil {
		t.Fatal(err)
	}
	it := db.NewIterator(util.BytesPrefix([]byte("folder/inbox\x00one.json")), nil)
	for it.Next() {
		if err := db.Put(it.Key(), bytes.ReplaceAll(it.Value(), []byte(`,"accepted":true`), nil), nil); err != nil {
			t.Fatal(err)
		}
	}
	it.Release()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again(drafter.ID, drafter.Name)

	// The journal is lost, and with it who it was; the ledger has the pseudonym.
	stop()
	if err := os.RemoveAll(journal); err != nil {
		t.Fatal(err)
	}
	again("", "")
	if _, err := w.client("beijing", "verifier").Record(t.Context(), model.KindLicence, model.NewRecordID(organisations[0].agency, 2)); model.AsError(err).Code != model.CodeNotFound {
		t.Errorf("a second licence: %v", err)
	}
}

// A source one of whose writers nobody is is not read, since he who was meant could approve what he wrote there.
func TestPushUnknownWriter(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	inbox := t.TempDir()
	if err := os.WriteFile(filepath.Join(w.node("beijing"), "inbox.key"), []byte(w.client("beijing", "drafter").Key), 0o600); err != nil {
		t.Fatal(err)
	}
	w.configure("beijing", fmt.Sprintf("push:\n  folders:\n    - {name: inbox, dir: %q, key_file: inbox.key, writers: [usr-nobody], settle: 100ms, poll: 100ms}\n", inbox))
	file := filepath.Join(inbox, "one.json")
	if err := errors.Join(os.WriteFile(file, []byte("{}"), 0o600), os.WriteFile(file+".ok", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.serve("beijing")
	w.until("doctor names the id", func() bool {
		return slices.ContainsFunc(app.Examine(t.Context(), w.node("beijing")).Findings, func(f doctor.Finding) bool {
			return f.Code == doctor.NodeNotReady && strings.Contains(strings.Join(f.Evidence, " "), "usr-nobody")
		})
	})
	if _, err := os.Stat(file); err != nil {
		t.Errorf("it was taken: %v", err)
	}
}
