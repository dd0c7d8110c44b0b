package importer

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// What is wrong with a row is said in one language at a time, with what to do: what is allowed, where to look.
func TestFaultsInWords(t *testing.T) {
	const header = "name,uscc,registration_date,province,district\n"
	row := func(name, uscc, day string) string { return name + "," + uscc + "," + day + ",北京,东城\n" }
	for _, tt := range []struct{ name, rows, zh, en string }{
		{"a number twice", row("甲", code(t, 1), "2020-01-01") + row("乙", code(t, 1), "2020-01-01"),
			"证照编号与前面的行相同，持证主体的代码或名称不同（第 2 行）", "an earlier row has this number with another code or name of the holder (line 2)"},
		{"a day in no writing", row("甲", code(t, 1), "昨天"),
			"日期不存在，或不是映射所列的写法（", "the date does not exist, or is in no writing that the map allows (YYYY-MM-DD"},
		{"a day ahead", row("甲", code(t, 1), "2031-01-01"), "签发日期在未来", "the day of issue lies in the future"},
		{"a spreadsheet's day", row("甲", code(t, 1), "43891"), "像是表格软件的日期序号；确是日期的，在映射中写 serial_dates: \"1900\"", "it looks like a day as a spreadsheet counts them"},
		{"five digits that are none", row("甲", code(t, 1), "12345"), "日期不存在，或不是映射所列的写法（", "the date does not exist, or is in no writing"},
	} {
		im := newImport(mustMap(t, "enterprises-bth"), []byte(header+tt.rows), newLedger(t).targets("beijing"))
		var zh, en []string
		im.Fault = func(f Fault) { zh, en = append(zh, f.Zh()), append(en, f.En()) }
		if _, err := im.Check(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(zh) != 1 || !strings.HasPrefix(zh[0], tt.zh) || !strings.HasPrefix(en[0], tt.en) {
			t.Errorf("%s: %q %q", tt.name, zh, en)
			continue
		}
		plain := strings.NewReplacer("年", "", "月", "", "日", "").Replace(en[0]) // of how a date is written
		if strings.ContainsFunc(plain, func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			t.Errorf("%s: two languages: %s", tt.name, en[0])
		}
	}
	// No text of ours has the other's words in it.
	for c, text := range ownTexts {
		if strings.ContainsFunc(text[1], func(r rune) bool { return unicode.Is(unicode.Han, r) }) || !strings.ContainsFunc(text[0], func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			t.Error(fmt.Sprint(c, text))
		}
	}
}
