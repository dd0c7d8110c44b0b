package fabric

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// makePackage puts a chaincode package together. The same parts always give the same bytes, so that a repeated `up`
// comes to the same package id and installs nothing twice.
func makePackage(m Metadata, c Connection) (raw []byte, id string, err error) {
	connection, err := json.Marshal(c)
	if err != nil {
		return nil, "", err
	}
	code, err := archive([]entry{{"connection.json", connection}})
	if err != nil {
		return nil, "", err
	}
	metadata, err := json.Marshal(m)
	if err != nil {
		return nil, "", err
	}
	raw, err = archive([]entry{{"metadata.json", metadata}, {"code.tar.gz", code}})
	sum := sha256.Sum256(raw)
	return raw, m.Label + ":" + hex.EncodeToString(sum[:]), err
}

type entry struct {
	name string
	raw  []byte
}

func archive(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(e.raw)), ModTime: time.Unix(0, 0)}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(e.raw); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
