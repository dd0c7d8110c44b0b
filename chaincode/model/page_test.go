package model

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func drawHeader(t *rapid.T) Header {
	day := func(name string) Date { return DateFromDays(rapid.Uint32Range(0, lastDay).Draw(t, name)) }
	h := Header{
		Version: rapid.Uint64Min(1).Draw(t, "version"), State: rapid.SampledFrom(Machines[KindLicence].States).Draw(t, "state"),
		Owner: AgencyID(rapid.StringMatching(`[a-z][a-z0-9-]{0,30}[a-z0-9]`).Draw(t, "owner")), From: day("from"), Until: day("until"), Effective: day("effective"),
	}
	copy(h.Value[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "value"))
	copy(h.Op[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "op"))
	return h
}

func TestPageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Page{Kind: KindLicence}
		for i := range p.Headers {
			if rapid.Bool().Draw(t, "occupied") {
				p.Headers[i] = drawHeader(t)
			}
		}
		raw := p.Encode()
		back, err := DecodePage(KindLicence, raw)
		if err != nil || back != p {
			t.Fatalf("%x: %+v, %v", raw, back, err)
		}
	})
}

// FuzzDecodePage: exactly what Encode writes is read.
func FuzzDecodePage(f *testing.F) {
	p := Page{Kind: KindLicence}
	p.Headers[3] = Header{Version: 200, State: Suspended, Owner: "bj-scjg", Value: Digest{1}, From: "2026-01-05", Until: "2036-01-04", Op: OpID{2}}
	f.Add(p.Encode())
	p.Headers[0] = Header{Version: 1, State: InForce, Owner: "bj-scjg"}
	f.Add(p.Encode())
	f.Add([]byte{1})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := DecodePage(KindLicence, raw)
		if err == nil && len(raw) > 0 && !bytes.Equal(p.Encode(), raw) {
			t.Fatalf("%x is written again as %x", raw, p.Encode())
		}
	})
}

// TestHeaderSize holds the design's 60 to 100 bytes.
func TestHeaderSize(t *testing.T) {
	for _, h := range []Header{
		{Version: 1, State: InForce, Owner: "bj", Value: Digest{1}, Op: OpID{2}},
		{Version: 1, State: InForce, Owner: "bj-scjg", Value: Digest{1}, From: "2026-01-05", Until: "2036-01-04", Op: OpID{2}},
		{Version: 40_000, State: VoidLost, Owner: "he-shijiazhuang-changan-scjg-123", Value: Digest{1}, From: "2026-01-05", Until: "2999-12-31", Effective: "2999-12-31", Op: OpID{2}},
	} {
		if n := len(appendHeader(nil, KindLicence, h)); n < 55 || n > 100 {
			t.Errorf("%+v takes %d bytes", h, n)
		} else {
			t.Logf("%s: %d bytes", h.Owner, n)
		}
	}
}

func TestStateKeys(t *testing.T) {
	for _, tt := range []struct {
		kind Kind
		id   RecordID
		want string
	}{
		{KindLicence, "bj-scjg.1", "p/licence/bj-scjg/0"}, {KindLicence, "bj-scjg.15", "p/licence/bj-scjg/0"}, {KindLicence, "bj-scjg.16", "p/licence/bj-scjg/1"},
		{KindLicence, "bj-scjg.1000000", "p/licence/bj-scjg/62500"}, {KindAgency, "bj-scjg", "r/agency/bj-scjg"}, {KindProposal, "bj-scjg.7", "r/proposal/bj-scjg.7"},
		{KindPolicy, PolicyID, "r/policy/policy"}, {KindLicence, "abc", ""},
	} {
		if got := StateKey(tt.kind, tt.id); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.kind, tt.id, got, tt.want)
		}
	}
}
