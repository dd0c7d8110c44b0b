// Package vault keeps what a node knows and the ledger never may: confidential bodies with their salts,
// and how far each agency's serials are given out. It cannot be rebuilt from the ledger, so it is written
// with fsync before the operation that rests on it is accepted, and is part of every backup.
package vault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// reserve is how many serials are written off at once: one fsync for so many records, and after a crash
// at most so many serials of an agency stay unused.
const reserve = 4096

// Vault is safe for concurrent use. Records are keyed by the operation that carries their commitments.
type Vault struct {
	db *leveldb.DB

	mu      sync.Mutex
	serials map[string]*serial // guarded by mu
}

type serial struct{ next, reserved uint64 }

// Openings is what a confidential body needs to be shown or proved: value and salt of each field.
type Openings map[string]model.Opening

// Open opens the vault, creating it where there is none.
func Open(dir string) (*Vault, error) {
	db, err := leveldb.OpenFile(dir, &opt.Options{Strict: opt.StrictJournal | opt.StrictManifest, BlockCacheCapacity: 2 * opt.MiB})
	if errors.Is(err, storage.ErrLocked) || errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("vault %s is in use by another process: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	return &Vault{db: db, serials: map[string]*serial{}}, nil
}

// Close closes it.
func (v *Vault) Close() error { return v.db.Close() }

// Seal commits to each field of a confidential body under a salt of its own: the one drawn for the same value
// before, if there is one, else a new one. Nothing is stored yet.
func Seal(c *model.LicenceConfidential, drawn Openings) (map[string]model.Digest, Openings, error) {
	commitments, openings := map[string]model.Digest{}, Openings{}
	for field, value := range c.Fields() {
		o := model.Opening{Salt: model.NewSalt(), Value: value}
		if d, ok := drawn[field]; ok && d.Value == value {
			o = d
		}
		d, err := model.Commit(o.Salt, field, value)
		if err != nil {
			return nil, nil, err
		}
		commitments[field], openings[field] = d, o
	}
	return commitments, openings, nil
}

// Item is one confidential body to keep.
type Item struct {
	Operation model.OpID
	Openings  Openings
}

// Keep stores items durably.
func (v *Vault) Keep(items []Item) error {
	if len(items) == 0 {
		return nil
	}
	var b leveldb.Batch
	for _, it := range items {
		raw, err := json.Marshal(it.Openings)
		if err != nil {
			return model.AsError(err)
		}
		b.Put(append([]byte("c/"), it.Operation[:]...), raw)
	}
	return stored(v.db.Write(&b, &opt.WriteOptions{Sync: true}))
}

// Openings returns what is kept of an operation's confidential body; nil where there is none.
func (v *Vault) Openings(id model.OpID) (Openings, error) {
	raw, err := v.db.Get(append([]byte("c/"), id[:]...), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	var o Openings
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	return o, nil
}

// Erase forgets an operation's confidential body; the commitment that is left can never be opened again. The
// files that held the body are merged into others without it, where what is deleted alone would stay for long; the old ones
// are removed by the next Open at the latest. Done again it changes nothing.
func (v *Vault) Erase(id model.OpID) error {
	key := append([]byte("c/"), id[:]...)
	if err := v.db.Delete(key, &opt.WriteOptions{Sync: true}); err != nil {
		return stored(err)
	}
	return stored(v.db.CompactRange(util.Range{Start: key, Limit: append(bytes.Clone(key), 0)}))
}

// Serials gives out n consecutive serials of an agency and kind and returns the first. atLeast is one more
// than the greatest serial known from the ledger: it counts where the vault knows less, after a restore.
//
// A serial is never given out twice: the reservation is on disk before any of it is used.
func (v *Vault) Serials(kind model.Kind, agency model.AgencyID, n int, atLeast func() (uint64, error)) (uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key := "s/" + string(kind) + "/" + string(agency)
	s := v.serials[key]
	if s == nil {
		s = &serial{next: 1}
		raw, err := v.db.Get([]byte(key), nil)
		if err != nil && !errors.Is(err, leveldb.ErrNotFound) {
			return 0, model.E(model.CodeInternal).Because(err)
		}
		if err == nil {
			if s.next, err = strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64); err != nil {
				return 0, model.E(model.CodeInternal).Because(err)
			}
		}
		floor, err := atLeast()
		if err != nil {
			return 0, err
		}
		by, skipped, err := v.jump(key)
		if err != nil {
			return 0, model.E(model.CodeInternal).Because(err)
		}
		s.next = max(s.next, floor) + by
		s.reserved = s.next
		if skipped != nil {
			var b leveldb.Batch
			b.Put([]byte(key), strconv.AppendUint(nil, s.next, 10))
			b.Put(skipped, nil)
			if err := stored(v.db.Write(&b, &opt.WriteOptions{Sync: true})); err != nil {
				return 0, err
			}
		}
		v.serials[key] = s
	}
	if s.next+uint64(n) > s.reserved {
		to := s.next + uint64(n) + reserve
		if err := stored(v.db.Put([]byte(key), strconv.AppendUint(nil, to, 10), &opt.WriteOptions{Sync: true})); err != nil {
			return 0, err
		}
		s.reserved = to
	}
	first := s.next
	s.next += uint64(n)
	return first, nil
}

// Usable gives back what a clean stop leaves unused, so that serials have no gap after an orderly restart.
func (v *Vault) Usable() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b leveldb.Batch
	for key, s := range v.serials {
		b.Put([]byte(key), strconv.AppendUint(nil, s.next, 10))
		s.reserved = s.next
	}
	return stored(v.db.Write(&b, &opt.WriteOptions{Sync: true}))
}

// Secret returns the node's own secret of a name, drawing it by make the first time.
func (v *Vault) Secret(name string, make func() []byte) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key := []byte("k/" + name)
	b, err := v.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		b = make()
		return b, stored(v.db.Put(key, b, &opt.WriteOptions{Sync: true}))
	}
	return b, err
}

// stored names a full disk: nothing was accepted.
func stored(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return model.E(model.CodeStorageFull).Because(err)
	}
	return model.E(model.CodeInternal).Because(err)
}
