package model

import (
	"encoding/hex"
	"strings"
	"testing"
)

const citizen = "11010519491231002X" // the standard's own example

func TestGuardFindsNumbers(t *testing.T) {
	wide := strings.NewReplacer("0", "０", "1", "１", "2", "２", "3", "３", "4", "４", "5", "５", "9", "９", "X", "Ｘ").Replace(citizen)
	for _, s := range []string{
		citizen, strings.ToLower(citizen), wide, "联系人张三" + citizen + "（代理）", "A" + citizen + "B", "110105 19491231 002X", "110105-19491231-002X",
		"110105.1949.12.31.002x", "1 1 0 1 0 5 1 9 4 9 1 2 3 1 0 0 2 X", "110105　19491231　002Ｘ", "110105－19491231－002X", "110105\u200b19491231\u200b002X",
		"110105\u00a019491231\u2013002X", "11010519491231002Ⅹ", "360426199101010071", "9" + "360426199101010071", "360426199101010071" + "22", "1101051949\u00ad1231002X",
	} {
		if !HoldsPersonalIdentifier(s) {
			t.Errorf("%q passes", s)
		}
	}
	for _, s := range []string{
		"", "11010519491231002", "110105194912310021", "11010519491331002X", "00010519491231002X", "11010521491231002X", "1101051949123100", "X1010519491231002X",
		"11010519491231....002X", "11010519491231号002X", "一一〇一〇五一九四九一二三一〇〇二X", "2026-06-01 12:00:00.000", "13800138000", strings.Repeat("0", 200), strings.Repeat("9", 64),
	} {
		if HoldsPersonalIdentifier(s) {
			t.Errorf("%q is refused", s)
		}
	}
}

// TestGuardPlaces puts a number into every kind of free place, and into typed ones.
func TestGuardPlaces(t *testing.T) {
	licence := func(change func(*IssueBody)) *Operation {
		b := sampleIssue(1)
		change(b)
		raw, err := Canonical(b)
		if err != nil {
			t.Fatal(err)
		}
		return &Operation{Agency: "bj-scjg", Body: raw, Kind: KindLicence, Record: "bj-scjg.1", Type: LicenceIssue, Version: 1}
	}
	registry := func(k Kind, record RecordID, v Entry) *Operation {
		raw, err := Canonical(v)
		if err != nil {
			t.Fatal(err)
		}
		body, err := Canonical(ProposeBody{Action: Admit, Kind: k, Record: record, Value: raw, Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		return &Operation{Agency: "bj-scjg", Body: body, Kind: KindProposal, Record: "bj-scjg.1", Type: Propose, Version: 1}
	}
	identifier := func(serial string) LicenceID {
		p := sampleIssue(1).Value.Identifier.Parts()
		p.Serial = serial
		id, err := NewLicenceID(p)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	agency := sampleAgency()
	for name, tt := range map[string]struct {
		op   *Operation
		want Code
	}{
		"clean":             {licence(func(*IssueBody) {}), ""},
		"face text":         {licence(func(b *IssueBody) { b.Value.Face["scope"] = "见" + citizen }), CodePersonalIdentifier},
		"deep in the face":  {licence(func(b *IssueBody) { b.Value.Face["x"] = []any{map[string]any{"y": []any{citizen}}} }), CodePersonalIdentifier},
		"face key":          {licence(func(b *IssueBody) { b.Value.Face["k"+citizen] = "x" }), CodePersonalIdentifier},
		"nested key":        {licence(func(b *IssueBody) { b.Value.Face["k"] = map[string]any{citizen: true} }), CodePersonalIdentifier},
		"commitment name":   {licence(func(b *IssueBody) { b.Value.Commitments = map[string]Digest{"f" + citizen: {1}} }), CodePersonalIdentifier},
		"number":            {licence(func(b *IssueBody) { b.Value.Number = citizen }), CodePersonalIdentifier},
		"holder's name":     {licence(func(b *IssueBody) { b.Value.HolderName = "张三" + citizen }), CodePersonalIdentifier},
		"identifier serial": {licence(func(b *IssueBody) { b.Value.Identifier = identifier(citizen) }), CodePersonalIdentifier},
		"key id":            {licence(func(b *IssueBody) { b.Value.Signature.Key = citizen }), CodePersonalIdentifier},
		"agency's name": {registry(KindAgency, "bj-x", func() Entry {
			a := agency
			a.NameZh = citizen
			return &a
		}()), CodePersonalIdentifier},
		"agency's id": {registry(KindAgency, RecordID("a"+strings.ToLower(citizen)), func() Entry {
			a := agency
			a.ID = AgencyID("a" + strings.ToLower(citizen))
			return &a
		}()), CodePersonalIdentifier},
		"endpoint": {registry(KindAgency, "bj-x", func() Entry {
			a := agency
			a.Endpoint = "https://example.org/" + citizen
			return &a
		}()), CodePersonalIdentifier},
		"proposed record": {registry(KindAgency, RecordID("a"+strings.ToLower(citizen)), &agency), CodePersonalIdentifier},
		"undecodable":     {&Operation{Agency: "bj-scjg", Body: []byte(`{"x":["` + citizen + `"]}`), Kind: KindLicence, Record: "bj-scjg.1", Type: LicenceIssue, Version: 1}, CodePersonalIdentifier},
		"undecodable, in pieces": {&Operation{Agency: "bj-scjg", Body: []byte(`{"x":[110105,19491231,21]}`), Kind: KindLicence, Record: "bj-scjg.1", Type: LicenceIssue, Version: 1},
			CodeUnknownField},
	} {
		_, err := DecodeBody(tt.op)
		var got Code
		if err != nil {
			got = AsError(err).Code
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q (%v)", name, got, tt.want, err)
		}
	}
}

// TestGuardLeavesTypedCodes: real codes in their own fields are never taken for a person's.
func TestGuardLeavesTypedCodes(t *testing.T) {
	hits := 0
	for _, r := range enterprises(t) {
		u, err := ParseUSCC(r[1])
		if err != nil {
			t.Fatal(err)
		}
		if HoldsPersonalIdentifier(r[1]) {
			hits++
		}
		b := sampleIssue(1)
		b.Value.HolderCode, b.Value.HolderName = u, r[0]
		raw, err := Canonical(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeBody(&Operation{Agency: "bj-scjg", Body: raw, Kind: KindLicence, Record: "bj-scjg.1", Type: LicenceIssue, Version: 1}); err != nil {
			t.Errorf("licence of %s: %v", r[1], err)
		}
		raw, err = Canonical(PartyBody{Value: Party{Host: "bj-scjg", NameZh: r[0], Trades: []string{"importer"}, USCC: u}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeBody(&Operation{Agency: "bj-scjg", Body: raw, Kind: KindParty, Record: RecordID(u), Type: HostParty, Version: 1}); err != nil {
			t.Errorf("party %s: %v", r[1], err)
		}
	}
	t.Logf("%d of these codes would be refused in a free text", hits)
}

func TestGuardLeavesDigests(t *testing.T) {
	for i := range 20_000 {
		d := DigestOf([]byte{byte(i), byte(i >> 8), 7})
		if HoldsPersonalIdentifier(hex.EncodeToString(d[:])) {
			t.Errorf("digest %d reads as a person's number", i)
		}
	}
}

func sampleAgency() Agency {
	return Agency{ID: "bj-x", Keys: []Key{}, Msp: "BeijingMSP", NameZh: "某局", Node: "beijing", Region: "110000", Roles: []Role{RoleIssuer}, USCC: "11110000000021135M"}
}

// sampleIssue is a well-formed body; only the signature is a stand-in.
func sampleIssue(n int) *IssueBody {
	u, err := InventUSCC("91110101X", n)
	if err != nil {
		panic(err)
	}
	l := Licence{
		Face: map[string]any{"scope": "软件开发；技术服务", "capital": "1000万元人民币"}, HolderCode: u, HolderKind: HolderEnterprise, HolderName: "样例科技（北京）有限公司",
		IssuedOn: "2026-01-05", Issuer: "11110000000021135M", Number: "110101000000001", Region: "110101", Type: "11100000MB0143028R001",
		ValidFrom: "2026-01-05", ValidUntil: "2036-01-04", Signature: &Signature{Alg: "ES256", Key: "bj-scjg-1", Value: strings.Repeat("A", 86)},
	}
	l.Identifier, err = NewLicenceID(LicenceIDParts{Type: string(l.Type), Issuer: string(l.Issuer), Serial: "0000001", Version: 1})
	if err != nil {
		panic(err)
	}
	return &IssueBody{Value: l}
}
