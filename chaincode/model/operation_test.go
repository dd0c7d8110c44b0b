package model

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func typesInOrder() []Type {
	out := make([]Type, 0, len(Types))
	for t := range Types {
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}

func kindsInOrder() []Kind {
	out := make([]Kind, 0, len(Machines))
	for k := range Machines {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func drawOperation(t *rapid.T) Operation {
	body, err := Canonical(rapid.MapOf(rapid.String(), rapid.Int32()).Filter(func(m map[string]int32) bool {
		_, err := Canonical(m)
		return err == nil
	}).Draw(t, "body"))
	if err != nil {
		t.Fatal(err)
	}
	o := Operation{
		Agency: AgencyID(rapid.StringMatching(`([a-z][a-z0-9-]{0,30}[a-z0-9])?`).Draw(t, "agency")), Body: body,
		Kind: rapid.SampledFrom(kindsInOrder()).Draw(t, "kind"), Type: rapid.SampledFrom(typesInOrder()).Draw(t, "type"),
		Record:  RecordID(rapid.StringMatching(`[a-z][a-z0-9]{1,10}\.[1-9][0-9]{0,14}|[A-Za-z0-9-]{1,64}`).Draw(t, "record")),
		Time:    TimeOf(time.UnixMilli(rapid.Int64Range(1, 253402300799999).Draw(t, "time"))),
		Version: rapid.Uint64Range(1, MaxSafeInt-1).Draw(t, "version"),
	}
	copy(o.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	if rapid.Bool().Draw(t, "with person") {
		o.Person = Pseudonym(rapid.StringMatching(`[0-9a-f]{32}`).Draw(t, "person"))
	}
	return o
}

func TestOperationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOperation(t)
		raw := o.Encode()
		if general, err := Canonical(o); err != nil || !bytes.Equal(general, raw) {
			t.Fatalf("the general encoder writes %s, %v, not %s", general, err, raw)
		}
		back, err := DecodeOperation(raw)
		if err != nil || !reflect.DeepEqual(back, o) {
			t.Fatalf("%s: %+v, %v", raw, back, err)
		}
	})
}

// FuzzDecodeOperation: what the scanner accepts the general decoder reads alike, and is encoded again to the
// same bytes, so the digest of an operation is that of the argument's own bytes.
func FuzzDecodeOperation(f *testing.F) {
	issue, err := Canonical(sampleIssue(1))
	if err != nil {
		f.Fatal(err)
	}
	o := Operation{Agency: "bj-scjg", Body: issue, ID: OpID{1}, Kind: KindLicence, Person: Pseudonym(strings.Repeat("a", 32)), Record: "bj-scjg.1",
		Time: TimeOf(time.Unix(1780000000, 0)), Type: LicenceIssue, Version: 1}
	f.Add(o.Encode())
	o.Agency, o.Person, o.Body, o.Kind, o.Type, o.Record = "", "", []byte(`{}`), KindPolicy, Change, PolicyID
	f.Add(o.Encode())
	f.Add(bytes.Replace(o.Encode(), []byte(`"body":{}`), []byte(`"body":{"a":["}",{"\\":"\""}]}`), 1))
	f.Add([]byte(`{"agency":"a\"b","body":{},"id":"","kind":"","person":"","record":"","time":"","type":"","version":1}`))
	f.Add([]byte(`{"Agency":"bj","agency":"bj"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := DecodeOperation(raw)
		if err != nil {
			if AsError(err).Code == CodeInternal {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(o.Encode(), raw) {
			t.Fatalf("%s is encoded again as %s", raw, o.Encode())
		}
		var general, std Operation
		if err := DecodeCanonical(raw, &general); err != nil || !reflect.DeepEqual(general, o) {
			t.Fatalf("the general decoder reads %+v, %v", general, err)
		}
		if err := json.Unmarshal(raw, &std); err != nil || !reflect.DeepEqual(std, o) {
			t.Fatalf("encoding/json reads %+v, %v", std, err)
		}
		if o.Digest() != DigestOf(raw) {
			t.Fatal("another digest")
		}
		_, _ = DecodeBody(&o)
	})
}

func TestDecodeOperationRefusals(t *testing.T) {
	o := Operation{Agency: "bj-scjg", Body: []byte(`{}`), ID: OpID{1}, Kind: KindLicence, Record: "bj-scjg.1", Time: TimeOf(time.Unix(1780000000, 0)), Type: LicenceIssue, Version: 1}
	good := string(o.Encode())
	if _, err := DecodeOperation([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		old, with string
		want      Code
		field     string
	}{
		{`"agency"`, `"Agency"`, CodeUnknownField, "Agency"}, {`"bj-scjg"`, `"BJ"`, CodeBadID, "agency"}, {`"bj-scjg"`, `5`, CodeWrongType, "agency"},
		{`"bj-scjg"`, `null`, CodeWrongType, "agency"}, {`"body":{}`, `"body":null`, CodeWrongType, "body"}, {`"body":{}`, `"body":[]`, CodeWrongType, "body"},
		{`"body":{},`, ``, CodeMissingField, ""}, {`"kind":"licence"`, `"kind":"x"`, CodeUnknownOperation, "kind"}, {`licence.issue`, `licence.x`, CodeUnknownOperation, "type"},
		{`"version":1`, `"version":0`, CodeMissingField, ""}, {`"version":1`, `"version":-1`, CodeWrongType, "version"}, {`"version":1`, `"version":"1"`, CodeWrongType, "version"},
		{`"version":1`, `"version":1.0`, CodeNumberNotInteger, ""}, {`"version":1`, `"version":9007199254740992`, CodeNumberNotInteger, ""},
		{`"version":1`, `"version":1,"x":1`, CodeUnknownField, "x"}, {`{"agency"`, ` {"agency"`, CodeNotCanonical, ""}, {`"person":""`, `"person":"x"`, CodeBadID, "person"},
		{`"record":"bj-scjg.1"`, `"record":"bj-scjg.01"`, CodeBadID, "record"}, {`"record":"bj-scjg.1"`, `"record":""`, CodeMissingField, ""},
		{`2026-`, `2026-13-`, CodeBadTime, "time"}, {`"body":{}`, `"body":{"b":1,"a":1}`, CodeNotCanonical, ""}, {`"body":{}`, `"body":{"a":1,"a":1}`, CodeDuplicateKey, ""},
		{`"body":{}`, `"body":{"a":"` + strings.Repeat("x", MaxOperation) + `"}`, CodeTooLarge, ""}, {good, good + " ", CodeNotCanonical, ""}, {good, good + "x", CodeInvalidJSON, ""},
	} {
		raw := strings.Replace(good, tt.old, tt.with, 1)
		if raw == good {
			t.Fatalf("%s is not replaced", tt.old)
		}
		_, err := DecodeOperation([]byte(raw))
		if err == nil || AsError(err).Code != tt.want || AsError(err).Field != tt.field {
			t.Errorf("%s → %.60s: %v, want %s (%s)", tt.old, tt.with, err, tt.want, tt.field)
		}
	}
}

func FuzzDecodeBody(f *testing.F) {
	types := typesInOrder()
	for i, t := range types {
		raw, err := Canonical(Types[t].Body())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), byte(0), raw)
	}
	issue, err := Canonical(sampleIssue(1))
	if err != nil {
		f.Fatal(err)
	}
	agency := sampleAgency()
	value, err := Canonical(&agency)
	if err != nil {
		f.Fatal(err)
	}
	propose, err := Canonical(ProposeBody{Action: Admit, Kind: KindAgency, Record: "bj-x", Value: value, Version: 1})
	if err != nil {
		f.Fatal(err)
	}
	kinds := kindsInOrder()
	f.Add(byte(slices.Index(types, LicenceIssue)), byte(slices.Index(kinds, KindLicence)), issue)
	f.Add(byte(slices.Index(types, Propose)), byte(slices.Index(kinds, KindProposal)), propose)
	f.Fuzz(func(t *testing.T, typ, kind byte, raw []byte) {
		if !IsCanonical(raw) || len(raw) == 0 || raw[0] != '{' {
			return
		}
		op := &Operation{Agency: "bj-scjg", Body: raw, Kind: kinds[int(kind)%len(kinds)], Type: types[int(typ)%len(types)], Record: "bj-scjg.1", Version: 1}
		if naturalID(op.Kind) {
			op.Record = "bj-x"
		}
		body, err := DecodeBody(op)
		if err != nil {
			if AsError(err).Code == CodeInternal {
				t.Fatal(err)
			}
			return
		}
		h := Header{Version: op.Version - 1}
		e, err := Step(h, op, body)
		if err == nil && (e.Header.Version != 1 || e.Header.State == "") {
			t.Fatalf("%+v", e)
		}
	})
}

func FuzzDecodeGenesis(f *testing.F) {
	agency := sampleAgency()
	g := GenesisDocument{
		Agencies: []Agency{agency}, Channel: "jjj", Created: TimeOf(time.Unix(1780000000, 0)), Policy: Policy{Level: 1},
		Organisations: []Organisation{{Msp: "BeijingMSP", NameZh: "北京", Nodes: []NodeID{"beijing"}}},
		LicenceTypes: []LicenceType{{Authority: "11100000MB0143028R", Code: "11100000MB0143028R001", NameZh: "营业执照", HolderKinds: []HolderKind{HolderEnterprise},
			Face: map[string]FaceField{"scope": {Type: "string", Title: "范围", Visibility: Public}}, Issuers: map[AgencyID]Region{"bj-x": "110000"}}},
	}
	raw, err := Canonical(g)
	if err != nil {
		f.Fatal(err)
	}
	if _, _, err := DecodeGenesis(raw); err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"channel":"jjj","organisations":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, digest, err := DecodeGenesis(raw)
		if err != nil {
			if AsError(err).Code == CodeInternal {
				t.Fatal(err)
			}
			return
		}
		canonical, err := Canonicalize(raw)
		if err != nil || DigestOf(canonical) != digest {
			t.Fatalf("digest of another text: %v", err)
		}
		ops, err := g.Operations()
		if err != nil {
			t.Fatal(err)
		}
		for i := range ops {
			if _, err := DecodeBody(&ops[i]); err != nil && AsError(err).Code != CodePersonalIdentifier {
				t.Fatalf("%s: %v", ops[i].Body, err)
			}
		}
	})
}

func TestGenesisRefusals(t *testing.T) {
	base := func() *GenesisDocument {
		a, b := sampleAgency(), sampleAgency()
		b.ID, b.Parent = "bj-y", "bj-x"
		return &GenesisDocument{Agencies: []Agency{a, b}, Channel: "jjj", Created: TimeOf(time.Unix(1780000000, 0)), Policy: Policy{Level: 1},
			Organisations: []Organisation{{Msp: "BeijingMSP", NameZh: "北京", Nodes: []NodeID{"beijing"}}}}
	}
	for name, change := range map[string]func(*GenesisDocument){
		"parent unknown":    func(g *GenesisDocument) { g.Agencies[0].Parent = "bj-z" },
		"parents in circle": func(g *GenesisDocument) { g.Agencies[0].Parent = "bj-y" },
		"stands twice":      func(g *GenesisDocument) { g.Agencies[1].ID = "bj-x"; g.Agencies[1].Parent = "" },
		"no such member":    func(g *GenesisDocument) { g.Agencies[1].Msp = "OtherMSP" },
		"no channel":        func(g *GenesisDocument) { g.Channel = "" },
		"channel":           func(g *GenesisDocument) { g.Channel = "JJJ/.." },
		"no time":           func(g *GenesisDocument) { g.Created = Time{} },
		"nobody":            func(g *GenesisDocument) { g.Organisations, g.Agencies = nil, nil },
		"no level":          func(g *GenesisDocument) { g.Policy.Level = 0 },
		"issuer unknown": func(g *GenesisDocument) {
			g.LicenceTypes = []LicenceType{{Authority: "11100000MB0143028R", Code: "11100000MB0143028R001", NameZh: "x", HolderKinds: []HolderKind{"001"}, Issuers: map[AgencyID]Region{"bj-z": "110000"}}}
		},
		"bad face": func(g *GenesisDocument) {
			g.LicenceTypes = []LicenceType{{Authority: "11100000MB0143028R", Code: "11100000MB0143028R001", NameZh: "x", HolderKinds: []HolderKind{"001"}, Face: map[string]FaceField{"holder_code": {Type: "string", Title: "x", Visibility: Public}}}}
		},
		"two keys of one id": func(g *GenesisDocument) {
			k := Key{Alg: "SM2", ID: "k", Public: "BA"}
			g.Agencies[0].Keys = []Key{k, k}
		},
	} {
		g := base()
		if raw, err := Canonical(g); err != nil {
			t.Fatal(err)
		} else if _, _, err := DecodeGenesis(raw); err != nil {
			t.Fatal(err)
		}
		change(g)
		raw, err := Canonical(g)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := DecodeGenesis(raw); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
