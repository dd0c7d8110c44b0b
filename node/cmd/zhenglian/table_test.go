package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// A name of two hundred characters, each as wide as two, leaves the table narrow enough to be read; what is cut is marked.
func TestLongNamesInTables(t *testing.T) {
	o := &searchFlags{client: client{lang: "zh"}}
	p := sdk.LicencePage{Licences: []sdk.FoundLicence{
		{Record: "bj-scjg.1", Number: strings.Repeat("9", 100), HolderName: strings.Repeat("长", 200), HolderCode: "91110105X000000192", State: model.InForce, Owner: "bj-scjg"},
		{Record: "bj-scjg.2", Number: "A-1", HolderName: "北京样例（集团）有限公司", HolderCode: "91110105X000000192", State: model.InForce, Owner: "bj-scjg"},
	}}
	var out bytes.Buffer
	o.print(&out, &p)
	width := 0
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if width == 0 {
			width = text.StringWidthWithoutEscSequences(line)
		}
		if w := text.StringWidthWithoutEscSequences(line); w > 230 || w != width {
			t.Errorf("%d and %d places wide: %s", w, width, line)
		}
	}
	if s := out.String(); strings.Contains(s, strings.Repeat("长", widest/2)) || !strings.Contains(s, "长…") || !strings.Contains(s, "北京样例（集团）有限公司") {
		t.Error(s)
	}
}

// What somebody may do is said in words of the language.
func TestRightsInWords(t *testing.T) {
	zh := (&client{lang: "zh"}).mayDo([]string{"verify", "licence.issue", "draft.approve-licence"})
	if inEnglish.MatchString(zh) || strings.ContainsAny(zh, "abcdefghijklmnopqrstuvwxyz") || !strings.Contains(zh, "核验、") {
		t.Error(zh)
	}
	if en := (&client{lang: "en"}).mayDo([]string{"verify", "licence.issue"}); en != "verify licence.issue" {
		t.Error(en)
	}
}
