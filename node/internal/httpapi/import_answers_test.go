package httpapi_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// oneImport has done one import, whose id is "i1".
type oneImport struct{ rejects string }

func (o oneImport) one() sdk.Import {
	return sdk.Import{ID: "i1", Name: "存量.csv", Agency: "bj-scjg", State: sdk.ImportDone, Created: model.TimeOf(time.Unix(1_790_000_000, 0)), Event: 3, Rows: 2, Issued: 1, Rejected: 1}
}

func (o oneImport) Create(r httpapi.ImportRequest, file io.Reader) (sdk.Import, error) {
	_, err := io.Copy(io.Discard, file)
	i := o.one()
	i.Name, i.By = r.Name, r.By
	return i, err
}

func (o oneImport) Get(id string) (sdk.Import, <-chan struct{}, error) {
	if id != "i1" {
		return sdk.Import{}, nil, model.E(model.CodeNotFound, "id")
	}
	return o.one(), nil, nil
}

func (o oneImport) List() []sdk.Import                { return []sdk.Import{o.one()} }
func (o oneImport) Cancel(string) (sdk.Import, error) { return o.one(), nil }
func (o oneImport) Undo(_ string, r httpapi.ImportUndoing) (sdk.Import, error) {
	i := o.one()
	i.Undo = &sdk.ImportUndo{UndoImport: r.UndoImport, State: sdk.ImportAwaiting, By: r.By, Created: i.Created, Draft: "7-abcdefgh"}
	return i, nil
}

func (o oneImport) Rejects(string) (io.ReadCloser, string, error) {
	return io.NopCloser(strings.NewReader("x\n")), "rejects." + o.rejects, nil
}

func TestImportAnswers(t *testing.T) {
	const form = "--b\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\nstandard\r\n--b\r\n" +
		"Content-Disposition: form-data; name=\"file\"; filename=\"存量.csv\"\r\n\r\nnumber\r\n1\r\n--b--\r\n"
	for _, format := range []string{"csv", "xlsx", "jsonl"} {
		s := open(t, func(c *httpapi.Config, _ *auth.Rates) { c.Imports = oneImport{format} })
		status, h, raw := s.ask(t, auth.Drafter, "POST", "/v1/imports", form, "Content-Type", "multipart/form-data; boundary=b")
		if i := decode[sdk.Import](t, raw); status != 202 || i.Name != "存量.csv" || h.Get("Location") != "/v1/imports/i1" {
			t.Errorf("%d %s", status, raw)
		}
		for path, want := range map[string]string{"/v1/imports": `"imports":[{"id":"i1"`, "/v1/imports/i1": `"id":"i1"`, "/v1/imports/i1/events": "id: 3\ndata: {", "/v1/imports/i1/rejects": "x\n"} {
			if status, _, raw := s.ask(t, auth.Drafter, "GET", path, ""); status != 200 || !strings.Contains(string(raw), want) {
				t.Errorf("%s: %d %s", path, status, raw)
			}
		}
		if status, _, raw := s.ask(t, auth.Drafter, "POST", "/v1/imports/i1/cancel", "{}"); status != 200 {
			t.Errorf("%d %s", status, raw)
		}
		if status, _, raw := s.ask(t, auth.Drafter, "POST", "/v1/imports/i1/undo", `{"reason":"wrong-list"}`); status != 202 || !strings.Contains(string(raw), `"draft":"7-abcdefgh"`) || !strings.Contains(string(raw), `"reason":"wrong-list"`) {
			t.Errorf("%d %s", status, raw)
		}
		s.refused(t, auth.Drafter, "POST", "/v1/imports/i1/undo", `{"why":"x"}`, model.CodeUnknownField)
		s.refused(t, auth.Drafter, "POST", "/v1/imports/i2/undo", `{"reason":"wrong-list"}`, model.CodeNotFound)
		s.refused(t, auth.Verifier, "POST", "/v1/imports/i1/undo", `{"reason":"wrong-list"}`, model.CodeForbidden)
		s.refused(t, auth.Drafter, "GET", "/v1/imports/i2", "", model.CodeNotFound)
		s.refused(t, auth.Drafter, "POST", "/v1/imports", "no form", model.CodeBadValue)
	}
}
