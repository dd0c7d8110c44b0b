package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/spec/openapi.json instead of comparing it")

const (
	snapshotFile = "../../../docs/spec/openapi.json"
	releasedFile = "../../../docs/spec/openapi.released.json" // as of the last release
	apiChangelog = "../../../docs/api-changelog.md"
)

// served is the document as a node serves it, but for the version of its program.
func served(t *testing.T) []byte {
	t.Helper()
	return bytes.Replace(open(t).api.Document(), []byte(`"version":"test"`), []byte(`"version":"unversioned"`), 1)
}

// The committed document is the one that a node serves, so that a change of the API shows in the change itself, and
// clients are generated without a node.
func TestOpenAPISnapshot(t *testing.T) {
	raw := served(t)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", " "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	if *update {
		if err := os.WriteFile(snapshotFile, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(snapshotFile)
	if err != nil || !bytes.Equal(committed, pretty.Bytes()) {
		t.Errorf("docs/spec/openapi.json is not what the node serves (%v).\n\nRun: make clients    (make openapi, where there is no npm)\n", err)
	}
}

// Whoever wrote a program against the last release finds in docs/api-changelog.md what it has to be changed for, and
// which routes are new.
func TestAPIChangelog(t *testing.T) {
	raw := served(t)
	released, err := os.ReadFile(releasedFile)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(apiChangelog)
	if err != nil {
		t.Fatal(err)
	}
	_, unreleased, ok := strings.Cut(string(page), "\n## Unreleased\n")
	if !ok {
		t.Fatal("docs/api-changelog.md has no section Unreleased")
	}
	unreleased, _, _ = strings.Cut(unreleased, "\n## ")
	for _, c := range apiChanges(t, released, raw) {
		if !strings.Contains(unreleased, "`"+c.what+"`") {
			t.Errorf("`%s` %s since the last release.\n\nAdd a line that names it to the section Unreleased of docs/api-changelog.md.\n", c.what, c.how)
		}
	}
}

type apiChange struct{ what, how string }

type apiShape struct {
	Paths      map[string]map[string]apiOperation
	Components struct{ Schemas map[string]apiSchema }
}

type apiOperation struct {
	OperationID string
	Parameters  []struct {
		Name, In string
		Required bool
	}
	Responses map[string]json.RawMessage
}

type apiSchema struct {
	Required   []string
	Properties map[string]json.RawMessage
}

// apiChanges lists what a program against the old document may trip over, and new operations. A new member is not
// among them: what sends one is refused by an older node only, and what reads has to pass over members it does not
// know.
func apiChanges(t *testing.T, before, after []byte) (out []apiChange) {
	t.Helper()
	was, is := decode[apiShape](t, before), decode[apiShape](t, after)
	add := func(what, how string, args ...any) { out = append(out, apiChange{what, fmt.Sprintf(how, args...)}) }
	for _, path := range slices.Sorted(maps.Keys(was.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(was.Paths[path])) {
			name := strings.ToUpper(method) + " " + path
			old := was.Paths[path][method]
			now, ok := is.Paths[path][method]
			if !ok {
				add(name, "was removed")
				continue
			}
			if now.OperationID != old.OperationID {
				add(name, "has another operationId: %s", now.OperationID)
			}
			for _, p := range old.Parameters {
				if !slices.Contains(now.Parameters, p) {
					add(name, "has its parameter %s changed or removed", p.Name)
				}
			}
			for status := range old.Responses {
				if now.Responses[status] == nil {
					add(name, "answers no longer with %s", status)
				}
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(is.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(is.Paths[path])) {
			if _, ok := was.Paths[path][method]; !ok {
				add(strings.ToUpper(method)+" "+path, "is new")
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was.Components.Schemas)) {
		old := was.Components.Schemas[name]
		now, ok := is.Components.Schemas[name]
		if !ok {
			add(name, "was removed")
			continue
		}
		for _, member := range slices.Sorted(maps.Keys(old.Properties)) {
			switch m := now.Properties[member]; {
			case m == nil:
				add(name+"."+member, "was removed")
			case !sameType(t, old.Properties[member], m):
				add(name+"."+member, "has another type")
			case slices.Contains(old.Required, member) != slices.Contains(now.Required, member):
				add(name+"."+member, "is required or not otherwise than it was")
			}
		}
		for _, member := range now.Required {
			if _, known := old.Properties[member]; !known && !answersOnly(name) {
				add(name+"."+member, "is new and required")
			}
		}
	}
	return out
}

// answersOnly tells of the schemas that no request has: a member that is always there breaks nobody who reads.
func answersOnly(schema string) bool {
	return slices.Contains([]string{"Outcome", "Receipt", "Record", "View", "Verdict", "HistoryEntry", "HistoryPage", "RecordPage", "Reflects", "Event", "PublicVerdict", "Problem"}, schema)
}

// sameType compares schemas of a member without descriptions; an enumeration may grow.
func sameType(t *testing.T, old, now json.RawMessage) bool {
	t.Helper()
	a, b := decode[map[string]any](t, old), decode[map[string]any](t, now)
	values, _ := a["enum"].([]any)
	more, _ := b["enum"].([]any)
	for _, v := range values {
		if !slices.Contains(more, v) {
			return false
		}
	}
	for _, m := range []map[string]any{a, b} {
		delete(m, "description")
		delete(m, "enum")
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func TestAPIChanges(t *testing.T) {
	before := `{"paths":{"/a":{"get":{"operationId":"a","parameters":[{"name":"q","in":"query"}],"responses":{"200":{},"404":{}}}},"/b":{"post":{"operationId":"b"}}},
		"components":{"schemas":{"S":{"required":["k"],"properties":{"k":{"type":"string"},"gone":{"type":"string"},"e":{"type":"string","enum":["x","y"]},"n":{"type":"integer"}}}}}}`
	after := `{"paths":{"/a":{"get":{"operationId":"a2","parameters":[],"responses":{"200":{},"500":{}}}},"/c":{"put":{"operationId":"c"}}},
		"components":{"schemas":{"S":{"required":["must"],"properties":{"k":{"type":"string","description":"more"},"e":{"type":"string","enum":["y","z"]},"n":{"type":"string"},"must":{"type":"string"},"new":{}}}}}}`
	var got []string
	for _, c := range apiChanges(t, []byte(before), []byte(after)) {
		got = append(got, c.what+" "+c.how)
	}
	want := []string{
		"GET /a has another operationId: a2", "GET /a has its parameter q changed or removed", "GET /a answers no longer with 404",
		"POST /b was removed", "PUT /c is new",
		"S.e has another type", "S.gone was removed", "S.k is required or not otherwise than it was", "S.n has another type", "S.must is new and required",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if same := apiChanges(t, []byte(before), []byte(before)); len(same) > 0 {
		t.Errorf("%v", same)
	}
}
