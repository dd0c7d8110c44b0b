package app

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// SupportBundle writes what helps somebody else to find a node's fault, a zip of texts, to a new file: versions, the
// configuration without secrets, doctor's report, readiness, metrics, goroutines, the log's last lines, and the names
// and sizes of the folder's files. It holds no key, no document and no personal data: of the stores nothing but sizes,
// and every text goes through scrub. What of a node that does not run cannot be had is left out and named.
func SupportBundle(ctx context.Context, dir, path string) (missing []string, err error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name string, raw []byte) {
		w, e := z.Create(name)
		if e == nil {
			_, e = w.Write(raw)
		}
		err = errors.Join(err, e)
	}
	about, _ := json.MarshalIndent(map[string]string{ // plain values always encode
		"program": Version(), "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH, "time": time.Now().UTC().Format(time.RFC3339),
	}, "", "  ")
	add("about.json", about)
	raw, e := os.ReadFile(filepath.Join(dir, ConfigFile))
	if e == nil {
		raw, e = maskConfig(raw)
	}
	if e != nil {
		missing = append(missing, ConfigFile+": "+scrub(e.Error()))
	} else {
		add(ConfigFile, raw)
	}
	report := Examine(ctx, dir)
	for i := range report.Findings {
		for j, s := range report.Findings[i].Evidence {
			report.Findings[i].Evidence[j] = scrub(s)
		}
	}
	raw, _ = json.MarshalIndent(report, "", "  ")
	add("doctor.json", raw)
	add("files.txt", listing(dir))
	if raw, e := os.ReadFile(filepath.Join(dir, storesFile)); e == nil {
		add(storesFile, raw)
	}
	if cfg, e := LoadConfig(dir); e != nil {
		missing = append(missing, "the running node: "+scrub(e.Error()))
	} else {
		missing = append(missing, ask(ctx, NewAdmin(cfg), add)...)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return missing, err
	}
	return missing, writeNew(path, out.Bytes(), 0o600)
}

// ask adds what a running node says of itself.
func ask(ctx context.Context, a *Admin, add func(string, []byte)) (missing []string) {
	for _, q := range []struct {
		path, name string
		clean      func([]byte) []byte
	}{
		{"/status", "status.json", scrubLines}, {"/metrics", "metrics.txt", func(b []byte) []byte { return b }},
		{"/debug/pprof/goroutine?debug=1", "goroutines.txt", func(b []byte) []byte { return b }}, {"/log", "log.txt", scrubLog},
	} {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		raw, err := a.Get(ctx, q.path)
		cancel()
		if err != nil {
			missing = append(missing, q.name+": "+scrub(err.Error()))
			continue
		}
		add(q.name, q.clean(raw))
	}
	return missing
}

// ownFolders are those in which only the node names files. Of others, such as folders that back offices drop files into,
// the bundle has sizes and no names.
var ownFolders = regexp.MustCompile(`^(records|archive|vault|outbox|inbox|exports|imports|invitations|keys|authority|ledger|ledger-service|webhooks|push|` +
	regexp.QuoteMeta(AccessLogDir) + `(` + regexp.QuoteMeta(setAside) + `[0-9TZ:.-]+)?)$`)

// ownFile is a name of a file that the node, or its operator following the documentation, has given.
var ownFile = regexp.MustCompile(`^(zhenglian\.yaml|ledger\.yaml|[a-z]+(-[a-z]+)*\.(json|crt|key|pem|lock|db|db-wal|db-shm|db\.aside)|admin-token|last-backup)$`)

// listing has the sizes and times of a folder's files, and the names that the node has given. Names below keys are of
// agencies.
func listing(dir string) []byte {
	var b bytes.Buffer
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // files come and go while a node runs
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			rel, _ := filepath.Rel(dir, path)
			top, _, below := strings.Cut(filepath.ToSlash(rel), "/")
			switch {
			case below && !ownFolders.MatchString(top):
				rel = "…/…"
			case !below && !ownFile.MatchString(rel):
				rel = "…"
			}
			fmt.Fprintf(&b, "%s %12d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), scrub(rel))
		}
		return nil
	})
	return b.Bytes()
}

var secretName = regexp.MustCompile(`(?i)secret|passw|passphrase|token|dsn|credential|(^|_)key$`)

// plainSettings are the settings whose texts say nothing of anybody: where things are, and how long they last. Of all
// others, reasons, names and users' ids among them, and of unknown ones, the texts are hidden.
var plainSettings = map[string]bool{
	"node": true, "msp": true, "channel": true, "chaincode": true, "genesis": true, "genesis_digest": true, "genesis_block": true, "import_from": true,
	"identity": true, "listen": true, "admin": true, "tls_cert": true, "tls_key": true, "lang": true, "embedded": true, "address": true,
	"tls_roots": true, "server_name": true, "trusted_proxies": true, "off": true, "imports_keep": true, "expires": true, "settle": true, "give_up": true,
	"poll": true, "issuer": true, "redirect_url": true, "ca_file": true, "database": true, "schema": true, "tls": true, "tls_name": true,
	"networks": true, "otlp": true,
}

// maskConfig hides in a configuration secrets, what URLs hold of names and passwords, and every text that may be about
// somebody.
func maskConfig(raw []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	var walk func(n *yaml.Node, plain, secret bool)
	walk = func(n *yaml.Node, plain, secret bool) {
		n.HeadComment, n.LineComment, n.FootComment = "", "", ""
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				name := n.Content[i].Value
				walk(n.Content[i], true, false)
				walk(n.Content[i+1], plainSettings[name], secret || (secretName.MatchString(name) && name != "tls_key"))
			}
		case yaml.ScalarNode:
			hide := n.Value != "" && (secret || n.Tag == "!!str" && !plain)
			if strings.Contains(n.Value, "://") {
				u, err := url.Parse(n.Value)
				hide = hide || err != nil || u.User != nil || u.RawQuery != ""
			}
			if hide || scrub(n.Value) != n.Value {
				n.SetString("***")
			}
		default:
			for _, c := range n.Content {
				walk(c, plain, secret)
			}
		}
	}
	walk(&doc, true, false)
	return yaml.Marshal(&doc)
}

// What a text may hold that is nobody else's business: keys, key files, long numbers (identity cards, passports,
// telephones, credit codes, licence numbers), mail addresses, whatever is quoted, and everything in Chinese, as names of people are;
// the program's own Chinese texts stand in doctor.json.
var private = []*regexp.Regexp{
	regexp.MustCompile(`(?s)-----BEGIN.*?(-----END [A-Z ]*-----|$)`),
	regexp.MustCompile(`zl[a-z]{1,3}_[A-Za-z0-9_-]+`),
	regexp.MustCompile(`(?i)bearer\s+\S+`),
	regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+`),
	regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+`),
	regexp.MustCompile(`://[^/\s]*@`),
	regexp.MustCompile(`"[^"]*"`),
	regexp.MustCompile(`\b[A-Z]{0,4}[0-9][0-9A-Z-]{6,}[0-9Xx]\b`),
	regexp.MustCompile(`(?i)\b[A-Z]{1,3}[0-9]{6,}\b`), // passports and permits
	regexp.MustCompile(`[\p{Han}·]+`),
}

// scrub takes out of a text what is private, or may be.
func scrub(s string) string {
	for _, re := range private {
		s = re.ReplaceAllString(s, "…")
	}
	return s
}

func scrubLines(raw []byte) []byte {
	var v map[string]any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	out, _ := json.MarshalIndent(scrubValue(v, ""), "", "  ") // what was decoded encodes
	return append(out, '\n')
}

// scrubLog keeps of each line of the log what is in it by name; a line that is not one is left out.
func scrubLog(raw []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(raw) {
		var v map[string]any
		if json.Unmarshal(line, &v) != nil {
			continue
		}
		out, err := json.Marshal(scrubValue(v, ""))
		if err == nil {
			b.Write(append(out, '\n'))
		}
	}
	return b.Bytes()
}

// plainNames are members whose values say when and where, and of whom nothing.
var plainNames = map[string]bool{"time": true, "level": true, "until": true, "started": true, "now": true, "ledger_time": true, "version": true}

// droppedFile is a name of a file that a back office or a person may have given, in the text of an error.
var droppedFile = regexp.MustCompile(`(?i)[^\s/:]+\.(xlsx|xls|csv|json|jsonl|txt|xml|zip|ok)\b`)

func scrubValue(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if secretName.MatchString(k) {
				v[k] = "…"
				continue
			}
			v[k] = scrubValue(v[k], k)
		}
	case []any:
		for i := range v {
			v[i] = scrubValue(v[i], name)
		}
	case string:
		if !plainNames[name] {
			return droppedFile.ReplaceAllStringFunc(scrub(v), func(name string) string {
				if ownFile.MatchString(name) {
					return name
				}
				return "…"
			})
		}
	}
	return v
}
