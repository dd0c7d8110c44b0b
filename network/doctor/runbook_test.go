package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runbooks are the runbooks whose marked commands are run on the real network, in the order in which they build on one
// another.
var runbooks = []string{
	"consortium", "contract-upgrade", "certificates", "organisation-joins", "organisation-leaves", "peer-from-snapshot", "node-from-archive",
}

const ops = "../../docs/ops"

// The marks above commands that are run: those after which the network is healthy, and those with which a member
// leaves it for good (TestMemberLeaves).
const (
	markRun  = "<!-- run -->"
	markLast = "<!-- run last -->"
)

// marked are the commands of a runbook that stand below a mark.
func marked(t *testing.T, file, mark string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(ops, file))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	parts := strings.Split(string(raw), mark+"\n```sh\n")
	for _, part := range parts[1:] {
		block, _, ok := strings.Cut(part, "\n```\n")
		if !ok {
			t.Fatalf("%s: a block without end", file)
		}
		out = append(out, block+"\n")
	}
	return out
}

// runbook runs a runbook's commands as they stand and expects a healthy network after them.
func (r *rig) runbook(t *testing.T, name string) {
	for _, block := range marked(t, name+".en.md", markRun) {
		script := "set -e\ncd " + r.base + "\nPATH=$PATH:" + r.net.Spec().Bin + "\n" + block
		if out, err := r.shell(script); err != nil {
			t.Fatalf("%s%v\n%s", block, err, out)
		}
	}
	r.healthy(t)
}

// TestRunbooks holds the two languages to each other and the fault table to the codes.
func TestRunbooks(t *testing.T) {
	for _, name := range runbooks {
		for _, mark := range []string{markRun, markLast} {
			en, zh := marked(t, name+".en.md", mark), marked(t, name+".zh-CN.md", mark)
			if mark == markRun && len(en) == 0 || !slices.Equal(en, zh) {
				t.Errorf("%s: %d commands in English, %d in Chinese, or not the same ones", name, len(en), len(zh))
			}
		}
	}
	for _, file := range []string{"faults.en.md", "faults.zh-CN.md"} {
		raw, err := os.ReadFile(filepath.Join(ops, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range Codes() {
			if strings.Count(string(raw), "| `"+string(c)+"` |") != 1 {
				t.Errorf("%s: %s has no row, or several", file, c)
			}
		}
	}
}

// TestLinks: what the runbooks point to is there.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(ops, "*.md"))
	if err != nil || len(files) < 16 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(raw), "](")[1:] {
			to, _, _ := strings.Cut(part, ")")
			to, _, _ = strings.Cut(to, "#")
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), to)); err != nil {
				t.Errorf("%s points to %s, which is not there", file, to)
			}
		}
	}
}
