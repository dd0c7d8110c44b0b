package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// example is a block of a page whose fence names a file: ```json issue.json
var example = regexp.MustCompile("(?ms)^```jsonl? ([a-z0-9-]+\\.jsonl?)$\n(.*?)^```$")

func examples(t *testing.T, page string) (names []string, content map[string][]byte) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	content = map[string][]byte{}
	for _, m := range example.FindAllSubmatch(raw, -1) {
		names = append(names, string(m[1]))
		content[string(m[1])] = m[2]
	}
	if len(names) == 0 {
		t.Fatalf("%s has no examples", page)
	}
	return names, content
}

// What the pages show is what a node takes: files of a watched folder, and bodies of POST /v1/operations.
func TestExamplesOfOperations(t *testing.T) {
	p := newPilot(t)
	inbox := filepath.Join(t.TempDir(), "inbox")
	if err := os.Mkdir(inbox, 0o700); err != nil {
		t.Fatal(err)
	}
	p.file(t, "inbox.key", p.keys["drafter"]+"\n")
	p.configure(t, "push:\n  folders:\n    - name: inbox\n      dir: "+inbox+"\n      key_file: inbox.key\n      settle: 100ms\n      poll: 100ms\n")
	p.start(t)
	p.ready(t)

	want := map[string]string{"cancel.json": "held"}
	answered := func(name string) (a struct {
		State, Code, En string
		Operations      []struct{ State, Code, Field, En string }
	}) {
		soon(t, name+" is answered", func() bool {
			for _, dir := range []string{"done", "failed", "taken"} {
				raw, err := os.ReadFile(filepath.Join(inbox, dir, name+".answer.json"))
				if err == nil && json.Unmarshal(raw, &a) == nil && (dir != "taken" || a.State == "held") {
					return true
				}
			}
			return false
		})
		return a
	}
	for _, page := range []string{"spec/watch-folder.md", "guide/push.en.md", "guide/push.zh-CN.md"} {
		names, content := examples(t, page)
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(inbox, name+".part"), content[name], 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(inbox, name+".part"), filepath.Join(inbox, name)); err != nil {
				t.Fatal(err)
			}
			state := want[name]
			if state == "" {
				state = "committed"
			}
			if a := answered(name); a.State != state || len(a.Operations) == 0 {
				t.Errorf("%s, %s: %+v, want %s", page, name, a, state)
			}
		}
	}

	names, content := examples(t, "spec/api.md")
	for _, name := range names {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v1/operations", bytes.NewReader(content[name]))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+p.keys["drafter"])
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(raw, []byte(`"committed"`)) || bytes.Contains(raw, []byte(`"refused"`)) {
			t.Errorf("api.md, %s: %d %v\n%s", name, res.StatusCode, err, raw)
		}
	}
}
