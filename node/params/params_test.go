package params

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func names(t *testing.T) []string {
	t.Helper()
	entries, err := fs.ReadDir(files, "tables")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".csv"))
	}
	return out
}

// What DESIGN calls code tables is there, is whole, and says where it is from.
func TestEveryTable(t *testing.T) {
	want := map[string]int{ // rows, as SOURCES counts them where it does
		"regions": 31 + 342 + 2978 - 3, "customs-districts": 37, "customs-receipt-channels": 28,
		"single-window-dictionary": 765, "single-window-fields": 469, "iso-countries": 249,
		"iso-currencies": 446, "unece-units": 2136, "un-locode": 35055, "iata-cargo-status": 26,
		"iata-airports": 9126, "hs": 6939, "hs-sections": 21, "dcsa-document-types": 16,
		"dcsa-equipment-events": 17, "dcsa-transport-events": 2, "dcsa-shipment-events": 17,
		"dcsa-facility-types": 11,
	}
	total := 0
	for _, name := range names(t) {
		c, err := Table(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if n, ok := want[name]; !ok || len(c.Rows) != n {
			t.Errorf("%s: %d rows, want %d", name, len(c.Rows), n)
		}
		delete(want, name)
		if e, err := Edition(name); err != nil || e != c.Edition || e == "" || c.Source == "" || c.Licence == "" {
			t.Errorf("%s: edition %q, %v; %+q", name, e, err, []string{c.Edition, c.Source, c.Licence})
		}
		for _, row := range c.Rows {
			if row[0] == "" {
				t.Errorf("%s: no key in %q", name, row)
			}
			if s := strings.Join(row, ""); !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError) {
				t.Errorf("%s: not text: %q", name, row)
			}
		}
		data, _ := files.ReadFile("tables/" + name + ".csv")
		total += len(data)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
	if total > 3<<20 {
		t.Errorf("tables are %d bytes, more than 3 MiB in every binary", total)
	}
}

func TestUnknownTable(t *testing.T) {
	for _, name := range []string{"", "region", "../params", "regions.csv", "enterprises", strings.Repeat("x", 1<<16)} {
		if _, err := Table(name); !errors.Is(err, ErrUnknownTable) || len(err.Error()) > 200 {
			t.Errorf("Table(%.20q): %.200v", name, err)
		}
		if _, err := Edition(name); !errors.Is(err, ErrUnknownTable) {
			t.Errorf("Edition(%.20q): %.200v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "# table: x\n# title: t\n# source: s\n# licence: l\n# edition: e\n# changes: c\n"
	if c, err := parse("x", []byte(head+"a,b\n#1,2\n")); err != nil || c.Rows[0][0] != "#1" {
		t.Errorf("a row may begin with #: %v, %v", c, err)
	}
	for name, in := range map[string]string{
		"empty":         "",
		"no edition":    strings.Replace(head, "# edition: e\n", "", 1) + "a\n1\n",
		"empty source":  strings.Replace(head, "source: s", "source: ", 1) + "a\n1\n",
		"other's name":  strings.Replace(head, "table: x", "table: y", 1) + "a\n1\n",
		"no rows":       head + "a,b\n",
		"ragged":        head + "a,b\n1\n",
		"broken quotes": head + "a,b\n\"1,2\n",
	} {
		if _, err := parse("x", []byte(in)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRegions(t *testing.T) {
	tests := []struct{ code, name, province, city string }{
		{"110000", "北京市", "北京市", ""},
		{"110100", "市辖区", "北京市", ""},
		{"110101", "东城区", "北京市", ""},
		{"120116", "滨海新区", "天津市", ""},
		{"130000", "河北省", "河北省", ""},
		{"130100", "石家庄市", "河北省", "石家庄市"},
		{"130102", "长安区", "河北省", "石家庄市"},
		{"419001", "济源市", "河南省", ""},
		{"441900", "东莞市", "广东省", "东莞市"},
	}
	for _, tt := range tests {
		r, ok := Regions().Lookup(tt.code)
		if !ok || r != (Region{tt.code, tt.name, tt.province, tt.city}) {
			t.Errorf("%s: %+v, %v", tt.code, r, ok)
		}
	}
	for _, code := range []string{"", "11", "1101", "990000", "110102x", "１１０１０１"} {
		if Regions().Known(code) {
			t.Errorf("%q is known", code)
		}
	}
	if !Regions().Known("130102") {
		t.Error("130102 is not known")
	}
	sixDigits := regexp.MustCompile(`^[1-9]\d{5}$`)
	for code, r := range regions().byCode {
		if !sixDigits.MatchString(code) || r.Name == "" || r.Province == "" {
			t.Errorf("%q: %+v", code, r)
		}
	}
}

func TestCustomsDistricts(t *testing.T) {
	d, ok := CustomsDistricts().Lookup("0202")
	if !ok || d != (CustomsDistrict{"0202", "新港海关", "0200"}) {
		t.Errorf("0202: %+v, %v", d, ok)
	}
	for code, d := range customsDistricts().byCode {
		if !CustomsDistricts().Known(d.District) {
			t.Errorf("%s belongs to %s, which is not in the table", code, d.District)
		}
	}
	if CustomsDistricts().Known("9999") || CustomsDistricts().Known("202") {
		t.Error("a code of no district is known")
	}
}

func TestConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := Table("hs"); err != nil || !Regions().Known("120000") || !CustomsDistricts().Known("0100") {
				t.Error("not ready", err)
			}
		})
	}
	wg.Wait()
}
