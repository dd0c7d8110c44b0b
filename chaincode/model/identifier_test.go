package model

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shared reads a file of the shared test data beside the checkout; the test is skipped where it is absent.
func shared(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "..", "shared"}, parts...)...))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("../shared/%s is absent", strings.Join(parts, "/"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkIdentifiers(t *testing.T, usccs, notUSCCs, organisations, citizens, licences []string) {
	t.Helper()
	for _, s := range usccs {
		u, err := ParseUSCC(s)
		if err != nil {
			t.Errorf("USCC %s: %v", s, err)
			continue
		}
		if again, err := USCCFrom(s[:17]); err != nil || again != u {
			t.Errorf("USCC from %s: %s, %v", s[:17], again, err)
		}
		if _, err := ParseOrganisationCode(string(u.OrganisationCode())); err != nil {
			t.Errorf("organisation code of %s: %v", s, err)
		}
		// Another check character is wrong, whichever.
		for _, c := range usccAlphabet {
			if other := s[:17] + string(c); other != s {
				if _, err := ParseUSCC(other); err == nil {
					t.Errorf("USCC %s is accepted beside %s", other, s)
				}
			}
		}
	}
	for _, s := range notUSCCs {
		if _, err := ParseUSCC(s); err == nil {
			t.Errorf("USCC %s is accepted", s)
		}
	}
	for _, s := range organisations {
		if c, err := ParseOrganisationCode(s); err != nil || string(c) != s {
			t.Errorf("organisation code %s: %v", s, err)
		}
		if c, err := ParseOrganisationCode(s[:8] + "-" + s[8:]); err != nil || string(c) != s {
			t.Errorf("organisation code with hyphen %s: %v", s, err)
		}
		last := "0123456789X"
		for _, c := range last {
			if other := s[:8] + string(c); other != s {
				if _, err := ParseOrganisationCode(other); err == nil {
					t.Errorf("organisation code %s is accepted beside %s", other, s)
				}
			}
		}
	}
	for _, s := range citizens {
		c, err := ParseCitizenID(s)
		if err != nil || c.Reveal() != s || strings.Contains(c.String(), s[:6]) {
			t.Errorf("citizen id: %v", err)
		}
		if !HoldsPersonalIdentifier(s) {
			t.Error("the guard does not know a citizen id")
		}
		for i := range 17 {
			other := []byte(s)
			other[i] = '0' + (other[i]-'0'+1)%10
			if _, err := ParseCitizenID(string(other)); err == nil {
				t.Errorf("a citizen id with digit %d changed is accepted", i+1)
			}
		}
	}
	for _, s := range licences {
		id, err := ParseLicenceID(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if again, err := NewLicenceID(id.Parts()); err != nil || again != id {
			t.Errorf("%s composed again: %s, %v", s, again, err)
		}
		for _, c := range "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
			if other := s[:len(s)-1] + string(c); other != s {
				if _, err := ParseLicenceID(other); err == nil {
					t.Errorf("%s is accepted", other)
				}
			}
		}
	}
}

// TestPublicIdentifiers needs nothing from outside: codes that are printed in public documents.
func TestPublicIdentifiers(t *testing.T) {
	checkIdentifiers(t,
		[]string{"91110000802100433B", "11100000MB0143028R", "91110000600037341L", "914403001922038216"},
		[]string{"91350100M000100Y4Z", "91330100799655058A", "9144030071526726IG", "9144030071526726XGG", "", "91110000802100433b", "９1110000802100433"},
		[]string{"71526726X", "000013338", "MB0143028"},
		[]string{"11010519491231002X"},
		[]string{"1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U", "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.002.S"})
}

func TestSharedCheckDigits(t *testing.T) {
	var v struct {
		Valid   []struct{ Code string } `json:"uscc_valid"`
		Invalid []struct{ Code string } `json:"uscc_invalid"`
		Org     []string                `json:"org_code"`
		Citizen []struct{ ID string }   `json:"ric"`
		Licence []string                `json:"elicence"`
	}
	if err := json.Unmarshal(shared(t, "vectors", "check-digits.json"), &v); err != nil {
		t.Fatal(err)
	}
	var good, bad, citizens []string
	for _, x := range v.Valid {
		good = append(good, x.Code)
	}
	for _, x := range v.Invalid {
		bad = append(bad, x.Code)
	}
	for _, x := range v.Citizen {
		citizens = append(citizens, x.ID)
	}
	if len(good) == 0 || len(bad) == 0 || len(v.Org) == 0 || len(citizens) == 0 || len(v.Licence) == 0 {
		t.Fatal("a group of vectors is empty")
	}
	checkIdentifiers(t, good, bad, v.Org, citizens, v.Licence)
}

func enterprises(t *testing.T) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(string(shared(t, "data", "enterprises", "enterprises-bth.csv")))).ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatal(err, len(rows))
	}
	return rows[1:]
}

func TestRealEnterprises(t *testing.T) {
	rows := enterprises(t)
	for _, r := range rows {
		if _, err := ParseUSCC(r[1]); err != nil {
			t.Errorf("%s: %v", r[1], err)
		}
		if err := checkLine("name", r[0], 1, MaxName); err != nil {
			t.Errorf("%s: %v", r[0], err)
		}
	}
	t.Logf("%d codes", len(rows))
}

func TestMalformedIdentifiers(t *testing.T) {
	good := "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U"
	zero, _ := mod37_36("11100000000013338W011", "11430000006122244L", "1", "000")
	for _, s := range []string{
		"", good + ".1", good[2:], strings.Replace(good, ".001.", ".1.", 1), strings.Replace(good, ".001.", ".00a.", 1), strings.ToLower(good),
		strings.Replace(good, "20230000403", "", 1), strings.Replace(good, "20230000403", strings.Repeat("1", 100), 1), good + " ", "2" + good[1:],
		"1.2.156.3005.2.11100000000013338W011.11430000006122244L.1.000." + string(zero),
	} {
		if id, err := ParseLicenceID(s); err == nil {
			t.Errorf("%q is accepted as %s", s, id)
		}
	}
	for _, p := range []LicenceIDParts{
		{"11100000000013338W011", "11430000006122244L", "1", 0}, {"11100000000013338W011", "11430000006122244L", "1", 1000},
		{"11100000000013338W01", "11430000006122244L", "1", 1}, {"11100000000013338W011", "", "1", 1}, {"11100000000013338W011", "1", "a", 1}, {"11100000000013338W011", "1", "1.1", 1},
	} {
		if id, err := NewLicenceID(p); err == nil {
			t.Errorf("%+v gives %s", p, id)
		}
	}
	for _, s := range []string{"110101", "659001", "110000", "820000"} {
		if _, err := ParseRegion(s); err != nil {
			t.Errorf("region %s: %v", s, err)
		}
	}
	for _, s := range []string{"", "11010", "1101011", "910000", "000000", "110005", "100000", "11010a"} {
		if _, err := ParseRegion(s); err == nil {
			t.Errorf("region %q is accepted", s)
		}
	}
	for _, tt := range []struct {
		in, outer Region
		want      bool
	}{{"110101", "110000", true}, {"110000", "110000", true}, {"110000", "110101", false}, {"120101", "110000", false}, {"130602", "130600", true}, {"130700", "130600", false}, {"", "110000", false}, {"110000", "", false}} {
		if tt.in.Within(tt.outer) != tt.want {
			t.Errorf("%s within %s", tt.in, tt.outer)
		}
	}
	for _, s := range []string{"b", "", "1a", "a-", "A1", "a.b", "a_b", strings.Repeat("a", 33), "北京"} {
		if _, err := ParseAgencyID(s); err == nil {
			t.Errorf("agency %q is accepted", s)
		}
		if _, err := ParseNodeID(s); err == nil {
			t.Errorf("node %q is accepted", s)
		}
	}
	for _, s := range []string{"", "1MSP", "-MSP", "Beijing MSP", "Beijing.MSP", strings.Repeat("M", 65)} {
		if _, err := ParseMSPID(s); err == nil {
			t.Errorf("MSP %q is accepted", s)
		}
	}
	for _, s := range []string{"bj.0", "bj.01", "bj.", ".1", "bj.1.2", "bj.1a", "bj.1234567890123456", "a b", "", "a/b", strings.Repeat("a", 65), "京"} {
		if id, err := ParseRecordID(s); err == nil {
			t.Errorf("record %q is accepted as %s", s, id)
		}
	}
	if a, n, ok := NewRecordID("bj-scjg", 999_999_999_999_999).Serial(); a != "bj-scjg" || n != 999_999_999_999_999 || !ok {
		t.Error(a, n, ok)
	}
	for _, s := range []string{"11100000MB0143028R001", "11100000MB0143028R0ZZ"} {
		if _, err := ParseTypeCode(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"11100000MB0143028R01", "11100000MB0143028A001", "11100000MB0143028R00a", "11100000MB0143028R0 1"} {
		if _, err := ParseTypeCode(s); err == nil {
			t.Errorf("type %q is accepted", s)
		}
	}
}

func FuzzParseLicenceID(f *testing.F) {
	f.Add("1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U")
	f.Add("1.2.156.3005.2.....")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseLicenceID(s)
		if err != nil {
			return
		}
		if again, err := NewLicenceID(id.Parts()); err != nil || string(again) != s {
			t.Fatalf("%s composed again: %s, %v", s, again, err)
		}
	})
}

func FuzzParseUSCC(f *testing.F) {
	f.Add("91110000802100433B")
	f.Add("11100000MB0143028R")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUSCC(s)
		if err != nil {
			return
		}
		if again, err := USCCFrom(s[:17]); err != nil || again != u {
			t.Fatalf("%s from its body: %s, %v", s, again, err)
		}
	})
}

// TestUSCCBothChecks: a code whose own check character is right and whose organisation code's is not was
// composed, never given out.
func TestUSCCBothChecks(t *testing.T) {
	for _, s := range []string{"11110000MB00010016", "91110105MA00000012"} {
		if _, err := ParseUSCC(s); AsError(err).Code != CodeBadUSCC {
			t.Errorf("%s: %v", s, err)
		}
		if u, err := USCCFrom(s[:17]); err == nil {
			t.Errorf("%s is completed to %s", s[:17], u)
		}
	}
	seen := map[USCC]bool{}
	for n := range 2000 {
		u, err := InventUSCC("91110105X", n)
		if err != nil || seen[u] || u.Region() != "110105" {
			t.Fatalf("%d: %s, %v", n, u, err)
		}
		seen[u] = true
		if _, err := ParseUSCC(string(u)); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for prefix, n := range map[string]int{"91110105X": 10_000_000, "911101": 1, "91110105I": 1, "91110105X1": -1, "91110105X12345678": 1, "9111010AX": 1} {
		if u, err := InventUSCC(prefix, n); err == nil {
			t.Errorf("%s with %d: %s", prefix, n, u)
		}
	}
}
