package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

const (
	maxImportField = 1 << 20          // bytes of a field beside the file: a map, at most
	uploadPause    = 30 * time.Second // a client that sends nothing for so long is let go
	uploadTime     = time.Hour        // of an upload in all
)

// importFields are the fields that may stand before the file.
var importFields = map[string]bool{"map": true, "sheet": true, "encoding": true, "cached_values": true, "legacy": true, "check_only": true}

// postImport takes a form, multipart/form-data: fields first, then the file, which is written to the disk as it comes.
func (a *API) postImport(x *exchange) error {
	if a.imports == nil {
		return model.E(model.CodeNotFound)
	}
	if x.r.ContentLength > int64(x.rt.limit) {
		return model.E(model.CodeTooLarge).With("at most %d bytes", x.rt.limit)
	}
	slow := &steady{r: http.MaxBytesReader(x, x.r.Body, int64(x.rt.limit)), control: http.NewResponseController(x), until: time.Now().Add(uploadTime)}
	kind, params, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return model.E(model.CodeBadValue, "Content-Type").With("multipart/form-data")
	}
	form := multipart.NewReader(slow, params["boundary"])
	in := ImportRequest{Principal: x.caller.ID(), Agency: x.caller.Agency(), By: x.caller.Name()}
	seen := map[string]bool{}
	for {
		p, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return model.E(model.CodeMissingField, "file")
		}
		if err != nil {
			return uploadError(err)
		}
		name := p.FormName()
		if name == "file" {
			return a.takeImport(x, in, p)
		}
		if !importFields[name] || seen[name] {
			return model.E(model.CodeUnknownField, clipped(name))
		}
		seen[name] = true
		raw, err := io.ReadAll(io.LimitReader(p, maxImportField+1))
		switch {
		case err != nil:
			return uploadError(err)
		case len(raw) > maxImportField:
			return model.E(model.CodeTooLarge, name)
		case !utf8.Valid(raw):
			return model.E(model.CodeBadUTF8, name)
		}
		if err := in.set(name, string(raw)); err != nil {
			return err
		}
	}
}

func (in *ImportRequest) set(name, v string) error {
	var flag *bool
	switch name {
	case "map":
		if strings.ContainsAny(v, ":\n") { // a name has neither
			in.Map = []byte(v)
		} else {
			in.MapName = v
		}
	case "sheet":
		in.Sheet = v
	case "encoding":
		in.Encoding = v
	case "cached_values":
		flag = &in.Cached
	case "legacy":
		flag = &in.Legacy
	case "check_only":
		flag = &in.CheckOnly
	}
	if len(v) > 200 && name != "map" {
		return model.E(model.CodeTooLong, name)
	}
	if flag != nil {
		if v != "true" && v != "false" {
			return model.E(model.CodeBadValue, name).With("true or false")
		}
		*flag = v == "true"
	}
	return nil
}

func (a *API) takeImport(x *exchange, in ImportRequest, file *multipart.Part) error {
	if in.Map == nil && in.MapName == "" {
		return model.E(model.CodeMissingField, "map").With("fields stand before the file")
	}
	in.Name = clipped(filepath.Base(file.FileName()))
	out, err := a.imports.Create(in, file)
	if err != nil {
		return uploadError(err)
	}
	x.Header()["Location"] = []string{"/v1/imports/" + out.ID}
	return x.answerValue(http.StatusAccepted, out)
}

// uploadError tells a body that is too large, or cut off, from trouble of the node.
func uploadError(err error) error {
	var large *http.MaxBytesError
	var known *model.Error
	switch {
	case errors.As(err, &large):
		return model.E(model.CodeTooLarge).With("at most %d bytes", large.Limit)
	case errors.As(err, &known):
		return known
	case errors.Is(err, errUpload) || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasPrefix(err.Error(), "multipart:"):
		return model.E(model.CodeBadValue, "body").With("the upload ends early or is no form")
	}
	return err
}

// clipped is a name from outside as it may be shown: one line, and not long.
func clipped(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200])
	}
	return s
}

var errUpload = errors.New("the upload was cut off")

// steady gives a client that goes on sending more time than the server gives to others.
type steady struct {
	r       io.Reader
	control *http.ResponseController
	until   time.Time
}

func (s *steady) Read(p []byte) (int, error) {
	now := time.Now()
	if now.After(s.until) {
		return 0, errUpload
	}
	_ = s.control.SetReadDeadline(now.Add(uploadPause)) // a connection without deadlines has none to miss
	_ = s.control.SetWriteDeadline(now.Add(uploadPause + time.Minute))
	n, err := s.r.Read(p)
	var large *http.MaxBytesError
	if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &large) {
		err = errors.Join(errUpload, err)
	}
	return n, err
}

// mayImport reports whether the caller may see an import: who may issue in the name of the agency that it was made in.
func (x *exchange) mayImport(i *sdk.Import) bool {
	return x.caller.Decide("licence.issue", i.Agency).Allowed
}

func (a *API) findImport(x *exchange) (sdk.Import, <-chan struct{}, error) {
	if a.imports == nil {
		return sdk.Import{}, nil, model.E(model.CodeNotFound, "id")
	}
	i, changed, err := a.imports.Get(x.r.PathValue("id"))
	if err == nil && !x.mayImport(&i) {
		err = model.E(model.CodeNotFound, "id")
	}
	return i, changed, err
}

func (a *API) getImports(x *exchange) error {
	out := sdk.ImportList{Imports: []sdk.Import{}}
	if a.imports != nil {
		for _, i := range a.imports.List() {
			if x.mayImport(&i) {
				i.Faults = nil
				out.Imports = append(out.Imports, i)
			}
		}
	}
	return x.answerValue(http.StatusOK, out)
}

func (a *API) getImport(x *exchange) error {
	i, _, err := a.findImport(x)
	if err != nil {
		return err
	}
	return x.answerValue(http.StatusOK, i)
}

func (a *API) postCancelImport(x *exchange) error {
	var in nothing
	if _, err := x.decode(&in); err != nil {
		return err
	}
	i, _, err := a.findImport(x)
	if err != nil {
		return err
	}
	if i, err = a.imports.Cancel(i.ID); err != nil {
		return err
	}
	return x.answerValue(http.StatusOK, i)
}

// postUndoImport has what an import has issued rescinded. Who asks needs the right to rescind where the import was made.
func (a *API) postUndoImport(x *exchange) error {
	var in sdk.UndoImport
	if _, err := x.decode(&in); err != nil {
		return err
	}
	i, _, err := a.findImport(x)
	if err != nil {
		return err
	}
	if err := x.decide(string(model.LicenceRescind), i.Agency); err != nil {
		return err
	}
	if i, err = a.imports.Undo(i.ID, ImportUndoing{Principal: x.caller.ID(), By: x.caller.Name(), UndoImport: in}); err != nil {
		return err
	}
	return x.answerValue(http.StatusAccepted, i)
}

func (a *API) getImportRejects(x *exchange) error {
	i, _, err := a.findImport(x)
	if err != nil {
		return err
	}
	f, name, err := a.imports.Rejects(i.ID)
	if err != nil {
		return err
	}
	defer f.Close()
	h := x.Header()
	h["Content-Type"] = []string{map[string]string{".xlsx": xlsxType[0], ".csv": csvType[0]}[filepath.Ext(name)]}
	if filepath.Ext(name) == ".jsonl" {
		h["Content-Type"] = []string{"application/jsonl"}
	}
	h["Content-Disposition"] = []string{mime.FormatMediaType("attachment", map[string]string{"filename": i.ID + "." + name})}
	x.WriteHeader(http.StatusOK)
	_, _ = io.Copy(x, f) // the client may be gone
	return nil
}

// getImportEvents tells how an import goes on. An event is the whole import as it stands, so a client that missed some
// has missed nothing: one that comes back with Last-Event-ID hears at once if anything has changed since.
func (a *API) getImportEvents(x *exchange) error {
	i, changed, err := a.findImport(x)
	if err != nil {
		return err
	}
	told := int64(-1)
	if last := x.r.Header.Get("Last-Event-ID"); last != "" {
		if told, err = strconv.ParseInt(last, 10, 64); err != nil {
			return model.E(model.CodeBadValue, "Last-Event-ID")
		}
	}
	if a.streams.Add(1) > int64(a.maxStreams) {
		a.streams.Add(-1)
		return limited{time.Second}
	}
	a.metrics.streams.Inc()
	defer func() { a.streams.Add(-1); a.metrics.streams.Dec() }()
	control := http.NewResponseController(x)
	h := x.Header()
	h["Content-Type"] = []string{"text/event-stream"}
	h["X-Accel-Buffering"] = []string{"no"}
	x.WriteHeader(http.StatusOK)
	out := []byte("retry: 1000\n\n")
	beat := time.NewTimer(a.heartbeat)
	defer beat.Stop()
	for {
		if i.Event > told {
			i.Faults = nil // GET shows them
			raw, err := json.Marshal(i)
			if err != nil {
				return nil
			}
			out = strconv.AppendInt(append(out, "id: "...), i.Event, 10)
			out = append(append(append(out, "\ndata: "...), raw...), "\n\n"...)
			told = i.Event
		}
		if c, err := a.gate.SignIn(x.r); err != nil || !c.Decide("licence.issue", i.Agency).Allowed {
			return nil // a stream ends with the right to read it
		}
		if len(out) > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(eventWrite))
			if _, err := x.Write(out); err != nil || control.Flush() != nil {
				return nil
			}
			out = out[:0]
		}
		if i.Ended() {
			return nil // there is nothing more to tell
		}
		beat.Reset(a.heartbeat)
		select {
		case <-changed:
		case <-beat.C:
			out = append(out, ": still here\n\n"...)
		case <-x.r.Context().Done():
			return nil
		case <-a.closing:
			return nil
		}
		if i, changed, err = a.imports.Get(i.ID); err != nil {
			return nil
		}
	}
}

// writeImports documents the routes of imports.
func (d *document) writeImports() {
	id := &huma.Param{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}, Description: "The import's id."}
	one := content("application/json", d.schema(sdk.Import{}))
	binary := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	text := func(says string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: says} }
	for _, r := range []struct {
		rt      *route
		says    string
		status  string
		content map[string]*huma.MediaType
	}{
		{routeImports, " Those of agencies that the caller may issue for, the newest first.", "200", content("application/json", d.schema(sdk.ImportList{}))},
		{routeNewImport, " The fields stand before the file, which has at most 256 MB.", "202", one},
		{routeImport, "", "200", one},
		{routeImportEvents, " Each event's data is the import as it stands; the stream ends when the import has.", "200", map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}},
		{routeImportRejects, " Put right, it can be uploaded again.", "200", map[string]*huma.MediaType{csvType[0]: {Schema: &huma.Schema{Type: huma.TypeString}}, xlsxType[0]: {Schema: binary}, "application/jsonl": {Schema: &huma.Schema{Type: huma.TypeString}}}},
		{routeCancelImport, " What is issued stays issued; a draft that it waits for is withdrawn. Of an import that is being undone it stops that.", "200", one},
		{routeUndoImport, " Once the import has ended. Another person must approve; `undo` tells how it stands. Asked again with the same body it is the same undoing.", "202", one},
	} {
		op := d.operation(r.rt)
		op.Description += r.says
		op.Responses[r.status] = &huma.Response{Description: http.StatusText(map[string]int{"200": 200, "202": 202}[r.status]), Content: r.content}
		if strings.Contains(r.rt.path, "{id}") {
			op.Parameters = append(op.Parameters, id)
		}
		switch r.rt {
		case routeCancelImport:
			op.RequestBody = &huma.RequestBody{Required: true, Content: content("application/json", d.schema(nothing{}))}
		case routeUndoImport:
			op.RequestBody = &huma.RequestBody{Required: true, Content: content("application/json", d.schema(sdk.UndoImport{}))}
		case routeNewImport:
			op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: &huma.Schema{
				Type: huma.TypeObject, Required: []string{"map", "file"}, Properties: map[string]*huma.Schema{
					"map": text("The name of a map that comes with the program, or a map."), "sheet": text("Of a workbook: a sheet's name or number."),
					"encoding": text("Of a text file; found out by default."), "cached_values": text("true: take the stored results of formulas."),
					"legacy": text("true: take rows whose holder's code does not check over, never valid until corrected."), "check_only": text("true: issue nothing."), "file": binary,
				}}}}}
		}
		d.config.AddOperation(&op)
	}
}
