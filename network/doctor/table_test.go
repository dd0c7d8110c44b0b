package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// TestFaultTable holds the two languages to each other and what they name of ours to the lists of metrics.
func TestFaultTable(t *testing.T) {
	var known string
	for _, file := range []string{"metrics.md", "zl-chaincode.md"} {
		known += read(t, file)
	}
	span := regexp.MustCompile("`[^`]+`")
	rows := map[string][]string{} // what a code's row has in backquotes, by code
	for _, file := range []string{"faults.en.md", "faults.zh-CN.md"} {
		for line := range strings.Lines(read(t, file)) {
			cells := strings.Split(line, " | ")
			if !strings.HasPrefix(line, "| ") || len(cells) < 2 || !strings.HasPrefix(cells[1], "`") {
				continue
			}
			if len(cells) != 4 || strings.TrimSpace(cells[2]) == "" {
				t.Errorf("%s: a row of %d cells, or nothing shows it in production: %s", file, len(cells), line)
			}
			has := span.FindAllString(line, -1)
			slices.Sort(has)
			if was, ok := rows[cells[1]]; ok && !slices.Equal(was, has) {
				t.Errorf("%s: the row of %s names %q, the other language's %q", file, cells[1], has, was)
			}
			rows[cells[1]] = has
			for _, name := range has {
				if strings.HasPrefix(name, "`zhenglian_") && !strings.Contains(known, "| "+name+" |") {
					t.Errorf("%s: %s is no metric of metrics.md or zl-chaincode.md", file, name)
				}
			}
		}
	}
	if len(rows) != len(Codes()) {
		t.Errorf("%d rows for %d codes", len(rows), len(Codes()))
	}
}

// metrics asks the orderers and peers for the metrics of theirs that the fault table names.
func (r *rig) metrics(t *testing.T) {
	var pages []byte
	get := func(address string) {
		l := &looker{o: Options{}.filled()}
		p, err := l.get(t.Context(), address, "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, p.body...)
	}
	for _, o := range r.net.Orderers() {
		get(o.Operations)
	}
	for _, p := range r.net.Peers() {
		get(p.Operations)
	}
	names := regexp.MustCompile("`((?:consensus|participation|ledger)_[a-z_]+)`").FindAllStringSubmatch(read(t, "faults.en.md"), -1)
	if len(names) < 6 {
		t.Errorf("the table names %q", names)
	}
	for _, name := range names {
		if r.net.Spec().Consensus == fabric.BFT && strings.HasPrefix(name[1], "consensus_etcdraft_") {
			continue
		}
		if !bytes.Contains(pages, []byte("\n"+name[1]+"{")) {
			t.Errorf("no program of this network has the metric %s", name[1])
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(ops, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
