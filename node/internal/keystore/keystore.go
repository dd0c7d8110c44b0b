// Package keystore holds the signing keys (签章) of the agencies that a node acts for: one PEM file a key,
// <dir>/<agency>/<key id>.pem, readable by the node's user alone.
package keystore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// Keystore is safe for concurrent use.
type Keystore struct {
	dir string

	mu   sync.RWMutex
	keys map[string]envelope.Signer // "<agency>/<key id>"; guarded by mu
}

// Open reads every key under dir, which must exist.
func Open(dir string) (*Keystore, error) {
	k := &Keystore{dir: dir, keys: map[string]envelope.Signer{}}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.pem"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("keystore: %s may be read by others: chmod 600 it", f)
		}
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		s, err := envelope.ParseKey(raw)
		if err != nil {
			return nil, fmt.Errorf("keystore: %s: %w", f, err)
		}
		id := strings.TrimSuffix(filepath.Base(f), ".pem")
		k.keys[filepath.Base(filepath.Dir(f))+"/"+id] = s
	}
	return k, nil
}

// Signer finds a key.
func (k *Keystore) Signer(agency model.AgencyID, keyID string) (envelope.Signer, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	s, ok := k.keys[string(agency)+"/"+keyID]
	return s, ok
}

// Create draws a key, stores it durably and returns it. It never replaces one.
func (k *Keystore) Create(agency model.AgencyID, keyID string, alg envelope.Alg) (envelope.Signer, error) {
	if _, err := model.ParseAgencyID(keyID); err != nil {
		return nil, err
	}
	s, err := envelope.NewSigner(alg)
	if err != nil {
		return nil, err
	}
	raw, err := envelope.MarshalKey(s)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(k.dir, string(agency))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, keyID+".pem")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	k.mu.Lock()
	k.keys[string(agency)+"/"+keyID] = s
	k.mu.Unlock()
	return s, nil
}
