package contract_test

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// compared holds both sides' standing of one record against each other: header and value through Get, and
// the bytes under its key, which for a page are its neighbours' too.
func (w *world) compared(kind model.Kind, id model.RecordID) {
	t, want := w.t, w.plain.records[kind][id]
	r, _ := w.peer.propose("BeijingMSP", "beijing", w.peer.now, []byte("Get"), []byte(kind), []byte(id))
	if r.Status != 200 {
		t.Fatalf("Get %s %s: %s", kind, id, r.Message)
	}
	var got model.StateEntry
	if err := json.Unmarshal(r.Payload, &got); err != nil {
		t.Fatal(err)
	}
	if got.Header != want.header {
		t.Fatalf("%s %s:\ncontract %+v\nplain    %+v", kind, id, got.Header, want.header)
	}
	if d := digest(want.value); d != want.header.Value {
		t.Fatalf("%s %s: the plain value's digest is %s, its header says %s", kind, id, d, want.header.Value)
	}
	if kind != model.KindLicence && model.DigestOf(got.Value) != want.header.Value {
		t.Fatalf("%s %s: value %s", kind, id, got.Value)
	}
	if got, want := w.peer.state[model.StateKey(kind, id)], w.plain.stored(kind, id); !bytes.Equal(got, want) {
		t.Fatalf("state of %s %s:\ncontract %q\nplain    %q", kind, id, got, want)
	}
}

// stored is what stands in the ledger's state under a record's key, byte for byte as docs/spec/state.md says.
func (p *plain) stored(kind model.Kind, id model.RecordID) []byte {
	if kind == model.KindLicence {
		page := model.Page{Kind: kind}
		agency, serial, _ := id.Serial()
		first := serial - serial%16
		for i := range page.Headers {
			if r := p.records[kind][model.NewRecordID(agency, first+uint64(i))]; r != nil {
				page.Headers[i] = r.header
			}
		}
		return page.Encode()
	}
	r := p.records[kind][id]
	return canonical(model.StateEntry{Header: r.header, Value: canonical(r.value)})
}

// counters compares the keys that belong to no record.
func (w *world) counters() {
	for key, want := range map[string]string{
		model.ContractKey:        fmt.Sprintf(`{"genesis":%q}`, w.peer.contract.Genesis),
		model.RegistryVersionKey: fmt.Sprint(w.plain.registry),
		model.MembersKey:         fmt.Sprint(w.plain.members()),
	} {
		if got := string(w.peer.state[key]); got != want {
			w.t.Fatalf("%s is %s in the state, want %s", key, got, want)
		}
	}
}

// explained holds what a call changed, on both sides, against the keys that model.Touches names for it.
func (w *world) explained(ops []planned, writes map[string][]byte, next *plain) {
	touched := map[string]bool{}
	for i := range ops {
		for _, k := range model.Touches(&ops[i].op) {
			touched[k] = true
		}
	}
	changed := map[string]bool{
		model.RegistryVersionKey: next.registry != w.plain.registry,
		model.MembersKey:         next.members() != w.plain.members(),
	}
	for kind, records := range next.records {
		for id, r := range records {
			if w.plain.records[kind][id] != r {
				changed[model.StateKey(kind, id)] = true
			}
		}
	}
	for k := range writes {
		if !touched[k] {
			w.t.Fatalf("the contract writes %s, which Touches does not name", k)
		}
	}
	for k, yes := range changed {
		if _, written := writes[k]; yes && (!touched[k] || !written) {
			w.t.Fatalf("the plain model changes %s: named by Touches %v, written by the contract %v", k, touched[k], written)
		}
	}
}

// check compares the whole state: every record, and no key beside.
func (w *world) check() {
	keys := map[string]bool{model.ContractKey: true, model.RegistryVersionKey: true, model.MembersKey: true}
	for kind, records := range w.plain.records {
		for id := range records {
			keys[model.StateKey(kind, id)] = true
			w.compared(kind, id)
		}
	}
	for k := range w.peer.state {
		if !keys[k] {
			w.t.Fatalf("a key that no record explains: %s", k)
		}
	}
	w.counters()
}

func canonical(v any) []byte {
	b, err := model.Canonical(v)
	if err != nil {
		panic(err)
	}
	return b
}
