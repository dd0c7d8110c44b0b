package main

import (
	"bytes"
	"strings"
	"testing"
)

// Wrong use has a status of its own and says what is wrong; help succeeds.
func TestWrongUse(t *testing.T) {
	missing := t.TempDir()
	tests := []struct {
		args string
		code int
		says string
	}{
		{"", 0, ""},
		{"licence", 0, ""},
		{"ledger --help", 0, ""},
		{"help import", 0, ""},
		{"bogus", 2, `no command "bogus"`},
		{"serv", 2, "there is serve"},
		{"licence bogus", 2, `zhenglian licence has no command "bogus"; there is amend,`},
		{"ledger bogus", 2, "there is apart, fsck, restore, serve"},
		{"import bogus", 2, "there is licences"},
		{"keys bogus", 2, `no command "bogus"`},
		{"completion bogus", 2, `no command "bogus"`},
		{"licence bogus --json", 2, "--json"},
		{"serve", 2, `"dir" not set`},
		{"ledger fsck", 2, `"dir" not set`},
		{"import licences x.csv", 2, `"map" not set`},
		{"init", 2, `"dir", "msp"`},
		{"reindex --dir x y", 2, "y"},
		{"licence show", 2, "1 arg"},
		{"history licence", 2, "2 arg"},
		{"verify x --nope", 2, "--nope"},
		{"verify x --lang fr", 2, "zh or en"},
		{"finding --dir " + missing, 1, missing}, // right use, and there is no node
	}
	for _, tt := range tests {
		var out, errOut bytes.Buffer
		code := run(t.Context(), strings.Fields(tt.args), strings.NewReader(""), &out, &errOut)
		if code != tt.code || !strings.Contains(errOut.String(), tt.says) || (code == 2) != strings.Contains(errOut.String(), "wrong use") {
			t.Errorf("%q: status %d, %q", tt.args, code, &errOut)
		}
		if (code == 0) != (out.Len() > 0) {
			t.Errorf("%q: status %d with output %q", tt.args, code, &out)
		}
	}
}
