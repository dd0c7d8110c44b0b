package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// A node imports an upload, tells how it goes on, gives the rejects, and undoes it after another person's approval.
func TestImportsOfANode(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a node")
	}
	node := exampleNode()
	drafter := node.as("drafter")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	good, err := model.InventUSCC("91110105", 4711)
	if err != nil {
		t.Fatal(err)
	}
	number := fmt.Sprint("SDK-", time.Now().UnixNano())
	const mapping = "type: 11100000MB0143028R001\nfields:\n  number: {column: no}\n  holder_code: {column: uscc}\n  holder_name: {column: name}\n  valid_from: {column: day}\nagency: {const: bj-scjg}\n"
	file := "no,name,uscc,day\n" + number + ",甲," + string(good) + ",2020-01-01\nX" + number + ",乙,91110105000000000X,2020-01-01\n"
	i, err := drafter.CreateImport(ctx, sdk.NewImport{Map: mapping, Name: "存量.csv", Encoding: "utf-8"}, strings.NewReader(file))
	if err != nil || i.ID == "" || i.Name != "存量.csv" {
		t.Fatal(i, err)
	}
	watch := func(done func(sdk.Import) bool) (last sdk.Import) {
		t.Helper()
		for i, err := range drafter.WatchImport(ctx, i.ID) {
			if err != nil {
				t.Fatal(err)
			}
			if last = i; done(i) {
				break
			}
		}
		return last
	}
	ended := func(sdk.Import) bool { return false } // to the end
	if i = watch(ended); i.State != sdk.ImportDone || i.Issued != 1 || i.Rejected != 1 || len(i.Faults) != 1 {
		t.Fatalf("%+v", i)
	}
	var rejects bytes.Buffer
	if err := drafter.ImportRejects(ctx, i.ID, &rejects); err != nil || !strings.Contains(rejects.String(), "bad_uscc") {
		t.Fatal(rejects.String(), err)
	}
	if list, err := drafter.Imports(ctx); err != nil || len(list) == 0 || list[0].ID != i.ID {
		t.Fatal(list, err)
	}
	if i, err = drafter.CancelImport(ctx, i.ID); err != nil || i.State != sdk.ImportDone { // it has ended
		t.Fatal(i, err)
	}
	if _, err := drafter.UndoImport(ctx, i.ID, sdk.UndoImport{}); !errors.Is(err, model.E(model.CodeMissingField)) {
		t.Fatal(err)
	}
	if _, err := drafter.UndoImport(ctx, i.ID, sdk.UndoImport{Reason: "wrong-list"}); err != nil {
		t.Fatal(err)
	}
	waits := watch(func(i sdk.Import) bool { return i.Undo.State == sdk.ImportAwaiting })
	d, err := node.as("approver").Draft(ctx, waits.Undo.Draft, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.as("approver").ApproveDraft(ctx, d.Draft.ID, d.Draft.Content, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	if i = watch(ended); i.Undo.State != sdk.ImportDone || i.Undo.Rescinded != 1 {
		t.Fatalf("%+v", i.Undo)
	}

	// One that waits for a second person is cancelled, and its draft with it.
	var many strings.Builder
	many.WriteString("no,name,uscc,day\n")
	for k := range 201 {
		fmt.Fprintf(&many, "%s-%d,甲,%s,2020-01-01\n", number, k, good)
	}
	if i, err = drafter.CreateImport(ctx, sdk.NewImport{Map: mapping, Name: "many.csv"}, strings.NewReader(many.String())); err != nil {
		t.Fatal(err)
	}
	waits = watch(func(i sdk.Import) bool { return i.State == sdk.ImportAwaiting })
	if i, err = drafter.CancelImport(ctx, i.ID); err != nil {
		t.Fatal(err)
	}
	if i = watch(ended); i.State != sdk.ImportCancelled {
		t.Fatalf("%+v", i)
	}
	if d, err := node.as("approver").Draft(ctx, waits.Draft, 0); err != nil || d.Draft.State != sdk.DraftWithdrawn {
		t.Fatal(d.Draft, err)
	}
	if _, err := drafter.CreateImport(ctx, sdk.NewImport{Map: "nothing", Name: "x"}, strings.NewReader("x")); !errors.Is(err, model.E(model.CodeBadValue)) {
		t.Fatal(err)
	}
	if _, err := node.as("verifier").CreateImport(ctx, sdk.NewImport{Map: mapping, Name: "x"}, strings.NewReader("x")); !errors.Is(err, model.E(model.CodeForbidden)) {
		t.Fatal(err)
	}
}

// An upload whose answer is lost is perhaps there; one that reached nobody is not.
func TestUploadWithoutAnAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseMultipartForm(1 << 20)
		panic(http.ErrAbortHandler)
	}))
	c := &sdk.Client{BaseURL: s.URL, Key: "zlk_x"}
	if _, err := c.CreateImport(t.Context(), sdk.NewImport{Map: "m", Name: "f"}, strings.NewReader("x")); !errors.Is(err, model.E(model.CodeOutcomeUnknown)) {
		t.Error(err)
	}
	s.Close()
	if _, err := c.CreateImport(t.Context(), sdk.NewImport{Map: "m", Name: "f"}, strings.NewReader("x")); !errors.Is(err, model.E(model.CodeNodeUnreachable)) {
		t.Error(err)
	}
}
