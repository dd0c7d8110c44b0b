package model

import (
	"strings"
	"testing"
	"unicode"
)

// TestGuardFindsDisguises: other scripts' digits, what looks like an X, and what breaks a number up.
func TestGuardFindsDisguises(t *testing.T) {
	in := func(zero rune) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return zero + r - '0'
			}
			return r
		}, citizen)
	}
	all := []string{
		"11010519491231002Х", "11010519491231002х", "11010519491231002Χ", "110105,19491231,002X", "110105:19491231:002X", "110105***19491231(002X)",
		"11010519491231、002X", "110105「19491231」002X", "1101051949\u03011231002X", "110105\ufe0f19491231002X", "110105😀19491231002X", "(110105)(19491231)(002X)",
		`110105"19491231"002X`, `110105\19491231\002X`, "110105\n19491231\n002X", "1a22b110105 19491231 002X", "９" + in('０'), "1949-12-31 " + citizen,
		"12:00 2026-01-05 11:00 " + citizen, "11:01:05 1949-12-31 00:2X", "36:04:26 1991-01-01 00:71", "360426 1991-01-01 0071", "36 04 26 1991 01 01 00 71", "3 6 0 4 2 6 1 9 9 1 0 1 0 1 0 0 7 1",
	}
	for _, zero := range zeros {
		all = append(all, in(zero))
	}
	for _, s := range all {
		if !HoldsPersonalIdentifier(s) {
			t.Errorf("%q passes", s)
		}
	}
}

// TestGuardLeavesCalendars: one in eleven rows of dates and times would have a right check character.
func TestGuardLeavesCalendars(t *testing.T) {
	day := func(n uint32) string { return string(DateFromDays(Date("1990-01-01").Days() + n)) }
	for i := range uint32(4000) {
		a, b, c := day(i*3), day(i*7%12_000), day(i*11%12_000)
		for _, s := range []string{
			a + "、" + b + "、" + c, a + ", " + b + ", " + c, a + " " + b + " " + c, "自" + a + "/" + b + "/" + c,
			a + " 12:00:00, " + b + " 13:30:00", "11:01:05 " + a + " 12:30", a + " 21:10:00 - " + b + " 08:00:00.000", a + " 21：10：00至" + b, a + "." + b + " 10:30",
		} {
			if HoldsPersonalIdentifier(s) {
				t.Fatalf("%q is refused", s)
			}
		}
	}
}

// TestZeros holds the table against the library's: a release of Unicode with new digits shows here, and
// changes the rule only at a contract level of its own.
func TestZeros(t *testing.T) {
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		c := foldRune(r)
		if digit := c >= '0' && c <= '9'; digit != unicode.Is(unicode.Nd, r) {
			t.Errorf("%U: digit %v", r, digit)
		}
		if c == letter && !unicode.IsLetter(r) && unicode.IsOneOf([]*unicode.RangeTable{unicode.P, unicode.S, unicode.M, unicode.Z, unicode.C}, r) && unicode.IsPrint(r) {
			t.Errorf("%U is taken for a letter", r)
		}
	}
}

// FuzzGuard: the one scan of a body misses nothing that its strings hold.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{citizen, "110105\"19491231\\002X", "110105\n1949\t1231\u0001002Ｘ", "一1101", "\xff\xe51101"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		found := HoldsPersonalIdentifier(s)
		raw, err := Canonical(map[string]any{"a": []any{s}})
		if err != nil {
			return
		}
		if found && !mayBePersonal(raw) {
			t.Errorf("%q is missed in %s", s, raw)
		}
		if textsPersonal(raw) != found {
			t.Errorf("%q: %v by itself", s, found)
		}
	})
}

func BenchmarkGuardScan(b *testing.B) {
	issue, err := Canonical(sampleIssue(1))
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"issue": issue, "ascii": []byte(strings.Repeat(`{"name":"Beijing Sample Technology","n":"BJ00012345","on":"2026-01-05"},`, 20)),
		"chinese": []byte(strings.Repeat("技术开发、技术服务；软件开发，销售计算机", 40)),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if mayBePersonal(text) {
					b.Fatal("found")
				}
			}
		})
	}
}
