package importer

import (
	"bytes"
	"embed"
	"errors"
	"io/fs"
	"sort"
	"strings"
)

//go:embed maps/*.yaml sample/licences.csv sample/licences.yaml
var shipped embed.FS

// ShippedMaps lists the maps that come with the program.
func ShippedMaps() []string {
	entries, err := shipped.ReadDir("maps")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	sort.Strings(out)
	return out
}

// ShippedMap is a map that comes with the program, by its name ("sample" is that of Sample); an
// fs.ErrNotExist for none.
func ShippedMap(name string) (*Map, error) {
	if strings.ContainsAny(name, "/\\") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	path := "maps/" + name + ".yaml"
	if name == "sample" {
		path = "sample/licences.yaml"
	}
	raw, err := shipped.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return DecodeMap(raw)
}

// Sample is the demo's own file, of invented holders with valid codes, and its map.
func Sample() ([]byte, *Map, error) {
	file, err := shipped.ReadFile("sample/licences.csv")
	m, err2 := shipped.ReadFile("sample/licences.yaml")
	if err := errors.Join(err, err2); err != nil {
		return nil, nil, err
	}
	mapping, err := ReadMap(bytes.NewReader(m))
	return file, mapping, err
}
