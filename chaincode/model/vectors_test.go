package model

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// vectors reads docs/spec/vectors, which a program of its own computed from the pages of docs/spec.
func vectors[T any](t *testing.T, name string) T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCanonicalSpec(t *testing.T) {
	v := vectors[struct {
		Vectors []struct{ Input, Canonical, SHA256 string }
		Refused []struct{ Input, Code string }
	}](t, "canonical.json")
	for _, x := range v.Vectors {
		got, err := Canonicalize([]byte(x.Input))
		if err != nil || string(got) != x.Canonical || DigestOf(got).String() != x.SHA256 {
			t.Errorf("%s: %s, %v", x.Input, got, err)
		}
	}
	for _, x := range v.Refused {
		if _, err := Canonicalize([]byte(x.Input)); err == nil || string(AsError(err).Code) != x.Code {
			t.Errorf("%s: %v, want %s", x.Input, err, x.Code)
		}
	}
	if len(v.Vectors) == 0 || len(v.Refused) == 0 {
		t.Error("no vectors")
	}
}

type operationVector struct {
	Canonical, Digest, Value string
	ValueDigest              string `json:"value_digest"`
	SigningBytes             string `json:"signing_bytes_sha256"`
}

func TestOperationSpec(t *testing.T) {
	v := vectors[struct {
		Vectors []operationVector
		IDs     []struct {
			Agency         AgencyID
			Principal, Key string
			N              int
			ID             string
		}
	}](t, "operation.json")
	for _, x := range v.Vectors {
		op, err := DecodeOperation([]byte(x.Canonical))
		if err != nil || op.Digest().String() != x.Digest {
			t.Errorf("%s: %v", x.Canonical, err)
			continue
		}
		body, err := DecodeBody(&op)
		if err != nil {
			t.Errorf("%s: %v", op.Body, err)
			continue
		}
		if b, ok := body.(*IssueBody); ok {
			signing, err := b.Value.SigningBytes()
			if err != nil || DigestOf(signing).String() != x.SigningBytes {
				t.Errorf("signing bytes: %s, %v", signing, err)
			}
			e, err := Step(Header{}, &op, body)
			if err != nil || string(e.Value) != x.Value || e.Header.Value.String() != x.ValueDigest {
				t.Errorf("value: %s, %v", e.Value, err)
			}
		}
	}
	for _, x := range v.IDs {
		if got := DeriveOpID(x.Agency, x.Principal, x.Key, x.N).String(); got != x.ID {
			t.Errorf("operation id %d: %s, want %s", x.N, got, x.ID)
		}
	}
	if len(v.Vectors) == 0 || len(v.IDs) == 0 {
		t.Error("no vectors")
	}
}

// TestLeafSpec runs the operations of operation.json through Step: record digests and leaves follow.
func TestLeafSpec(t *testing.T) {
	ops := vectors[struct{ Vectors []operationVector }](t, "operation.json").Vectors
	v := vectors[struct {
		Vectors []struct {
			Kind         Kind
			ID           RecordID
			Header       Header
			RecordDigest string `json:"record_digest"`
			Operation    string
			Leaf         string
			LeafHash     string `json:"leaf_hash"`
		}
	}](t, "leaf.json").Vectors
	if len(v) != len(ops) || len(v) == 0 {
		t.Fatal("not one leaf an operation")
	}
	var h Header
	var previous Digest
	for i, x := range v {
		op, err := DecodeOperation([]byte(ops[i].Canonical))
		if err != nil {
			t.Fatal(err)
		}
		body, err := DecodeBody(&op)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Step(h, &op, body)
		if err != nil || e.Header != x.Header {
			t.Fatalf("header %+v, %v, want %+v", e.Header, err, x.Header)
		}
		// Step is pure: the same again, and its arguments untouched.
		if again, err := Step(h, &op, body); err != nil || again.Header != e.Header || string(again.Value) != string(e.Value) {
			t.Fatalf("another result: %+v, %v", again, err)
		}
		h = e.Header
		if got := RecordDigest(x.Kind, x.ID, h).String(); got != x.RecordDigest {
			t.Errorf("record digest %s, want %s", got, x.RecordDigest)
		}
		l := Leaf{Operation: op.Digest(), Kind: x.Kind, ID: x.ID, Version: h.Version, State: h.State, Record: RecordDigest(x.Kind, x.ID, h), Previous: previous}
		if string(l.Encode()) != x.Leaf || l.Hash().String() != x.LeafHash || op.Digest().String() != x.Operation {
			t.Errorf("leaf %s, hash %s", l.Encode(), l.Hash())
		}
		if !IsCanonical(l.Encode()) {
			t.Error("a leaf is not canonical")
		}
		previous = l.Hash()
	}
}

func TestStateSpec(t *testing.T) {
	v := vectors[struct {
		Vectors []struct {
			Kind  Kind
			Slots map[string]Header
			Page  string
		}
		Keys    [][3]string
		Refused []string
	}](t, "state.json")
	for _, x := range v.Vectors {
		p := Page{Kind: x.Kind}
		for slot, h := range x.Slots {
			n, err := strconv.Atoi(slot)
			if err != nil {
				t.Fatal(err)
			}
			p.Headers[n] = h
		}
		if got := hex.EncodeToString(p.Encode()); got != x.Page {
			t.Errorf("page %s, want %s", got, x.Page)
		}
		raw, err := hex.DecodeString(x.Page)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodePage(x.Kind, raw); err != nil || back != p {
			t.Errorf("%s: %+v, %v", x.Page, back, err)
		}
	}
	for _, k := range v.Keys {
		if got := StateKey(Kind(k[0]), RecordID(k[1])); got != k[2] {
			t.Errorf("%v: %s", k, got)
		}
	}
	for _, s := range v.Refused {
		raw, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodePage(KindLicence, raw); err == nil {
			t.Errorf("%s is read", s)
		}
	}
	if len(v.Vectors) == 0 || len(v.Keys) == 0 || len(v.Refused) == 0 {
		t.Error("no vectors")
	}
}

func TestCommitmentSpec(t *testing.T) {
	v := vectors[struct {
		Vectors []struct {
			Salt       Salt
			Field      string
			Value      any
			Commitment Digest
		}
	}](t, "commitment.json").Vectors
	for _, x := range v {
		if got, err := Commit(x.Salt, x.Field, x.Value); err != nil || got != x.Commitment {
			t.Errorf("%s: %s, %v", x.Field, got, err)
		}
	}
	if len(v) == 0 {
		t.Error("no vectors")
	}
}

func TestRegistrySpec(t *testing.T) {
	v := vectors[struct {
		Vectors []struct {
			Action        Type
			Kind          Kind
			Record        RecordID
			Version       uint64
			Value, Digest string
		}
	}](t, "registry.json").Vectors
	for _, x := range v {
		if got := ContentDigest(x.Action, x.Kind, x.Record, x.Version, json.RawMessage(x.Value)).String(); got != x.Digest {
			t.Errorf("content digest %s, want %s", got, x.Digest)
		}
	}
	if len(v) == 0 {
		t.Error("no vectors")
	}
}

// TestGenesisSpec reads founding documents: a digest each, and the operations that follow from it. The ids
// come from the document with all its fields, so a shorter writing of the same has the same operations.
func TestGenesisSpec(t *testing.T) {
	v := vectors[struct {
		Vectors []struct {
			Document, Digest string
			WholeDigest      string `json:"whole_digest"`
			Operations       []struct {
				ID, Digest, Canonical string
				Kind                  Kind
				Record                RecordID
			}
		}
		Refused []struct{ Why, Code, Document string }
	}](t, "genesis.json")
	for _, x := range v.Vectors {
		g, d, err := DecodeGenesis([]byte(x.Document))
		if err != nil || d.String() != x.Digest {
			t.Errorf("digest %s, %v, want %s", d, err, x.Digest)
			continue
		}
		whole, err := Canonical(g)
		if err != nil || DigestOf(whole).String() != x.WholeDigest {
			t.Errorf("with all fields: %s, %v", whole, err)
		}
		ops, err := g.Operations()
		if err != nil || len(ops) != len(x.Operations) || len(ops) == 0 {
			t.Errorf("%d operations, %v, want %d", len(ops), err, len(x.Operations))
			continue
		}
		for i, want := range x.Operations {
			op := &ops[i]
			if op.Kind != want.Kind || op.Record != want.Record || op.ID.String() != want.ID || op.Digest().String() != want.Digest || string(op.Encode()) != want.Canonical {
				t.Errorf("operation %d:\n%s\nwant\n%s", i, op.Encode(), want.Canonical)
			}
		}
	}
	for _, x := range v.Refused {
		if _, _, err := DecodeGenesis([]byte(x.Document)); err == nil || string(AsError(err).Code) != x.Code {
			t.Errorf("%s: %v, want %s", x.Why, err, x.Code)
		}
	}
	if len(v.Vectors) == 0 || len(v.Refused) == 0 {
		t.Error("no vectors")
	}
}

// TestImportSpec: the running digest of a log, and the operation that closes an import.
func TestImportSpec(t *testing.T) {
	v := vectors[struct {
		Chain  []struct{ Operation, Record, Chain Digest }
		Closed struct {
			Import, Operation, Leaf string
			Time                    Time
			RecordDigest            Digest `json:"record_digest"`
			LeafHash                Digest `json:"leaf_hash"`
		}
	}](t, "import.json")
	var chain Digest
	for i, x := range v.Chain {
		if chain = Chain(chain, x.Operation, x.Record); chain != x.Chain {
			t.Errorf("%d: %s, want %s", i, chain, x.Chain)
		}
	}
	e, err := DecodeEntry(KindImport, ImportID, []byte(v.Closed.Import))
	if err != nil {
		t.Fatal(err)
	}
	op, err := e.(*Import).Operation(v.Closed.Time)
	if err != nil || string(op.Encode()) != v.Closed.Operation || e.(*Import).Chain != chain {
		t.Fatalf("%s %v", op.Encode(), err)
	}
	h := Header{Version: 1, State: Imported, Value: DigestOf([]byte(v.Closed.Import)), Op: op.ID}
	l := Leaf{Operation: op.Digest(), Kind: op.Kind, ID: op.Record, Version: 1, State: h.State, Record: RecordDigest(op.Kind, op.Record, h)}
	if l.Record != v.Closed.RecordDigest || string(l.Encode()) != v.Closed.Leaf || l.Hash() != v.Closed.LeafHash {
		t.Errorf("%s %s %s", l.Record, l.Encode(), l.Hash())
	}
	if len(v.Chain) == 0 {
		t.Error("no vectors")
	}
}
