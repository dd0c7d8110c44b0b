package fabric

import (
	"bytes"
	"embed"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"q": quoted}).ParseFS(templateFiles, "templates/*.tmpl"))

// quoted writes a path as YAML's double-quoted scalar, whatever signs it holds.
func quoted(parts ...string) string { return strconv.Quote(strings.Join(parts, "")) }

// render writes a configuration file.
func render(path, name string, data any) error {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, data); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeFile(path, out.Bytes(), 0o600)
}
