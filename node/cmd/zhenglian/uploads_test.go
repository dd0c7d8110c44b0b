package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zhenglian/zhenglian/sdk"
)

// upload has a demo's node import a file: upload NODE ROLE FILE MAP [FIELD=VALUE]... It follows the import's events to
// the end, or until it waits for a second person, and writes the import to the file "import.json" and its events to
// "events"; the rejected rows, where there are any, to "rejected". With ! the upload is refused, and the problem is in
// "import.json".
func upload(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: upload NODE ROLE FILE MAP [FIELD=VALUE]...")
	}
	nodes, err := readDemo(ts.Getenv("DEMO"))
	ts.Check(err)
	var url, key string
	for _, n := range nodes {
		if n.Name == args[0] {
			url, key = n.URL, n.Keys[args[1]]
		}
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	mapping := args[3]
	if strings.HasSuffix(mapping, ".yaml") {
		mapping = ts.ReadFile(mapping)
	}
	ts.Check(form.WriteField("map", mapping))
	for _, a := range args[4:] {
		name, value, _ := strings.Cut(a, "=")
		ts.Check(form.WriteField(name, value))
	}
	part, err := form.CreateFormFile("file", filepath.Base(args[2]))
	ts.Check(err)
	_, err = io.WriteString(part, ts.ReadFile(args[2]))
	ts.Check(err)
	ts.Check(form.Close())
	ask := func(method, path, kind string, body io.Reader, last string) *http.Response {
		r, err := http.NewRequest(method, url+path, body)
		ts.Check(err)
		r.Header.Set("Authorization", "Bearer "+key)
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		res, err := http.DefaultClient.Do(r)
		ts.Check(err)
		return res
	}
	keep := func(name string, res *http.Response) []byte {
		defer res.Body.Close()
		raw, err := io.ReadAll(res.Body)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), raw, 0o600))
		return raw
	}
	res := ask("POST", "/v1/imports", form.FormDataContentType(), &body, "")
	raw := keep("import.json", res)
	if neg != (res.StatusCode != http.StatusAccepted) {
		ts.Fatalf("%s: %s", res.Status, raw)
	}
	if neg {
		return
	}
	var i sdk.Import
	ts.Check(json.Unmarshal(raw, &i))
	last := ""
	for !i.State.Final() && i.State != sdk.ImportAwaiting {
		res := ask("GET", "/v1/imports/"+i.ID+"/events", "", nil, last)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
			ts.Fatalf("%s: %s", res.Status, keep("events", res))
		}
		s := bufio.NewScanner(res.Body)
		s.Buffer(nil, 1<<20)
		for s.Scan() { // one event a connection: the next begins where this one ended
			if id, ok := strings.CutPrefix(s.Text(), "id: "); ok {
				if id == last {
					ts.Fatalf("event %s came twice", id)
				}
				last = id
			}
			if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
				ts.Check(json.Unmarshal([]byte(data), &i))
				break
			}
		}
		res.Body.Close()
	}
	ts.Check(json.Unmarshal(keep("import.json", ask("GET", "/v1/imports/"+i.ID, "", nil, "")), &i))
	if i.Rejects != "" {
		keep("rejected", ask("GET", i.Rejects, "", nil, ""))
	}
	ts.Setenv("IMPORT", i.ID)
	ts.Setenv("DRAFT", i.Draft)
	keep("list.json", ask("GET", "/v1/imports", "", nil, ""))
	keep("cancelled.json", ask("POST", "/v1/imports/no-such/cancel", "application/json", strings.NewReader("{}"), ""))
}
