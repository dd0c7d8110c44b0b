package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hyperledger/fabric-admin-sdk/pkg/snapshot"
	"google.golang.org/protobuf/encoding/protowire"
)

// entry is a key of the contract's state: its value, and which valid transaction wrote it last, counted from 1.
type entry struct {
	value   string
	ordinal int
}

// state reads all of the contract's state out of a ledger's own storage: a snapshot that a peer makes, or the embedded
// ledger's database, for which its process is stopped and started again.
func (s *side) state(org string) map[string]entry {
	s.t.Helper()
	at := s.ordinals()
	out := map[string]entry{}
	add := func(key string, value []byte, block, index uint64) {
		ordinal, ok := at[[2]uint64{block, index}]
		if !ok {
			s.t.Errorf("key %q has version %d:%d, where no valid transaction stands", key, block, index)
		}
		out[key] = entry{string(value), ordinal}
	}
	if s.c.fabric != nil {
		if err := s.snapshot(org, add); err != nil {
			s.t.Fatal(err)
		}
		return out
	}
	s.c.ledger.p.stop()
	prefix := []byte("d" + ledgerContract + "\x00") // docs/spec/embedded-ledger.md
	if err := entries(filepath.Join(s.c.ledger.dir, "state"), func(key, value []byte) {
		if k, ok := bytes.CutPrefix(key, prefix); ok {
			block, n := binary.Uvarint(value)
			index, m := binary.Uvarint(value[n:])
			add(string(k), value[n+m:], block, index)
		}
	}); err != nil {
		s.t.Fatal(err)
	}
	s.c.ledger.start()
	return out
}

// snapshot has a peer write a snapshot of its last block and reads the public state in it.
func (s *side) snapshot(org string, add func(key string, value []byte, block, index uint64)) error {
	s.t.Helper()
	p := s.c.fabric.Peer(org)
	id, err := p.Admin().Signer()
	if err != nil {
		return err
	}
	conn, err := p.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx := background(s.t)
	height, err := p.Height(ctx)
	if err != nil {
		return err
	}
	if err := snapshot.NewPeer(conn, id).SubmitRequest(ctx, ledgerChannel, 0); err != nil { // 0: of the last block
		return fmt.Errorf("snapshot of %s: %w", p.Name, err)
	}
	dir := filepath.Join(s.c.dir, "peers", org, "snapshots", "completed", ledgerChannel, strconv.FormatUint(height-1, 10))
	eventually(s.t, time.Minute, "the snapshot "+dir, func() bool { _, err := os.Stat(dir); return err == nil })
	return publicState(dir, add)
}

// publicState reads Fabric's public_state.metadata, which counts each namespace's records, and public_state.data, which
// holds them in the same order. Both begin with the format's number.
func publicState(dir string, add func(key string, value []byte, block, index uint64)) error {
	meta, err := os.ReadFile(filepath.Join(dir, "public_state.metadata"))
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "public_state.data"))
	if err != nil {
		return err
	}
	if len(meta) == 0 || len(data) == 0 || meta[0] != 1 || data[0] != 1 {
		return errors.New("another format of snapshots than 1")
	}
	m, d := reader{rest: meta[1:]}, reader{rest: data[1:]}
	for range m.uvarint() {
		namespace, count := string(m.bytes()), m.uvarint()
		for range count {
			record := d.bytes()
			if namespace != ledgerContract {
				continue
			}
			var key string
			var value, version []byte
			for r := record; len(r) > 0; {
				number, kind, n := protowire.ConsumeTag(r)
				if n < 0 || kind != protowire.BytesType {
					return errors.New("a record of another shape")
				}
				v, l := protowire.ConsumeBytes(r[n:])
				if l < 0 {
					return protowire.ParseError(l)
				}
				switch number {
				case 1:
					key = string(v)
				case 2:
					value = v
				case 4:
					version = v
				}
				r = r[n+l:]
			}
			v := reader{rest: version}
			add(key, value, v.ordered(), v.ordered())
			if v.err != nil {
				return v.err
			}
		}
	}
	return errors.Join(m.err, d.err)
}

// reader reads what Fabric writes, and keeps its first error.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.err, r.rest = errors.New("a number is cut off"), nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.err, r.rest = errors.New("bytes are cut off"), nil
		return nil
	}
	v := r.rest[:n]
	r.rest = r.rest[n:]
	return v
}

// ordered reads a number written as its length and its bytes, the first the highest, so that numbers sort as bytes do.
func (r *reader) ordered() (v uint64) {
	for _, b := range r.bytes() {
		v = v<<8 | uint64(b)
	}
	return v
}
