package fold_test

import (
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/zhenglian/zhenglian/node/internal/fold"
)

func TestText(t *testing.T) {
	for _, alike := range [][]string{
		{"北京样例（集团）有限公司", "北京样例(集团)有限公司", "北京样例〔集团〕有限公司", "北京样例【集团】有限公司", "北京样例﹝集团﹞有限公司", "北京样例［集团］有限公司", "北京 样例　（集团）有限公司"},
		{"阿卜杜拉·买买提", "阿卜杜拉•买买提", "阿卜杜拉・买买提", "阿卜杜拉･买买提", "阿卜杜拉 买买提", "阿卜杜拉买买提"},
		{"ＡＢＣ１２３", "abc123", "Abc 123"},
		{"A—B", "a-b", "a－b"},
		{"北\u200b京", "\u202e北京", "北京\ufe00"},
	} {
		for _, s := range alike[1:] {
			if fold.Text(s) != fold.Text(alike[0]) {
				t.Errorf("%q folds to %q, %q to %q", s, fold.Text(s), alike[0], fold.Text(alike[0]))
			}
		}
	}
	for _, differ := range [][2]string{{"甲", "乙"}, {"北京（集团）", "北京集团"}, {"一", "壹"}} {
		if fold.Text(differ[0]) == fold.Text(differ[1]) {
			t.Errorf("%q and %q are not the same", differ[0], differ[1])
		}
	}
}

func TestTextTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		once := fold.Text(s)
		if twice := fold.Text(once); twice != once {
			t.Fatalf("%q folds to %q and then to %q", s, once, twice)
		}
		if utf8.ValidString(s) && !utf8.ValidString(once) {
			t.Fatalf("%q", once)
		}
	})
}
