package records

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Writer gathers blocks that the follower has verified and applies them in one batch. It sees what it has
// gathered; readers see it after Commit. A Store has one Writer, used by one goroutine at a time.
//
// After an error the gathered blocks are of no use: Reset, and begin again from Cursor.
type Writer struct {
	s       *Store
	batch   *leveldb.Batch
	pending map[string][]byte // what was gathered under keys that may be read again
	puts    [len(spaces)][]keyValue
	ops     []byte // the operations of the leaves gathered
	next    cursor
	changed map[string]bool // registry records, by record key
	touched []model.RecordID
	err     error
	failed  bool // the database itself refused a batch
}

// Writer is the store's one writer.
func (s *Store) Writer() *Writer { return s.writer }

func newWriter(s *Store, at cursor) *Writer {
	w := &Writer{s: s, batch: new(leveldb.Batch), next: at}
	w.clear()
	return w
}

func (w *Writer) clear() {
	w.batch.Reset()
	for i := range w.puts {
		clear(w.puts[i])
		w.puts[i] = w.puts[i][:0]
	}
	w.ops = w.ops[:0]
	w.pending = map[string][]byte{}
	w.changed = map[string]bool{}
	w.touched = nil
	w.err = nil
}

// Reset forgets what was gathered since the last Commit. Where the database refused to write, it is opened
// anew as soon as the disk has room; until then readers go on and Commit fails.
func (w *Writer) Reset() {
	if w.failed {
		w.failed = w.s.reopen() != nil
	}
	w.clear()
	w.next = w.s.cursor()
}

// Cursor says how far the store has come, gathered blocks included: blocks, the hash of the last one's
// header, leaves, ledger time.
func (w *Writer) Cursor() (height uint64, hash model.Digest, position uint64, at model.Time) {
	return w.next.height, w.next.hash, w.next.position, w.next.at
}

func (w *Writer) read(key []byte) ([]byte, error) {
	if v, ok := w.pending[string(key)]; ok {
		return v, nil
	}
	return absent(w.s.db.Get(key, nil))
}

type keyValue struct{ key, value []byte }

// spaces are the key spaces that blocks write, by their first byte. A batch is written one space after
// another: neighbours then meet the same part of the database's tree.
const spaces = "adiklnorsvx"

// put writes a value that may be read again before Commit. Neither slice is changed afterwards.
func (w *Writer) put(key, value []byte) {
	w.putOnce(key, value)
	w.pending[string(key)] = value
}

// putOnce writes a value that is not read before Commit.
func (w *Writer) putOnce(key, value []byte) {
	i := strings.IndexByte(spaces, key[0])
	w.puts[i] = append(w.puts[i], keyValue{key, value})
}

// Last is the hash and position of a record's latest leaf.
func (w *Writer) Last(kind model.Kind, id model.RecordID) (leaf model.Digest, position uint64, ok bool, err error) {
	b, err := w.read(recordKey(kind, id))
	if err != nil || b == nil {
		return model.Digest{}, 0, false, err
	}
	r, err := decodeRecord(b)
	if err != nil {
		return model.Digest{}, 0, false, err
	}
	b, err = w.read(logKey(r.position))
	if err != nil {
		return model.Digest{}, 0, false, err
	}
	e, err := decodeEntry(b)
	return e.leaf, r.position, err == nil, err
}

// Block begins a block: its number, its header's hash, the ledger time after it, and the ids of its valid and
// of its other transactions. What the valid ones wrote (Write) and its leaves follow.
func (w *Writer) Block(number uint64, hash model.Digest, at model.Time, valid, invalid []string) error {
	if w.err == nil && number != w.next.height {
		w.err = fmt.Errorf("records: block %d cannot follow height %d", number, w.next.height)
	}
	if w.err != nil {
		return w.err
	}
	w.next.height, w.next.hash, w.next.at = number+1, hash, at
	for i, ids := range [][]string{valid, invalid} {
		for _, id := range ids {
			if w.err = w.note(id, number, i == 0); w.err != nil {
				return w.err
			}
		}
	}
	return nil
}

// Leaf adds the next leaf of the block begun last: what was applied, the leaf, its receipt, and the
// organisation on whose word it was.
func (w *Writer) Leaf(a *model.Applied, leaf *model.Leaf, r *model.Receipt, msp model.MSPID) error {
	if w.err == nil {
		w.err = w.leaf(a, leaf, r, msp)
	}
	return w.err
}

func (w *Writer) leaf(a *model.Applied, leaf *model.Leaf, r *model.Receipt, msp model.MSPID) error {
	if r.Position != w.next.position {
		return fmt.Errorf("records: leaf %d cannot stand at position %d", r.Position, w.next.position)
	}
	key := recordKey(a.Op.Kind, a.Op.Record)
	e := entry{block: r.Block, msp: msp, state: leaf.State, late: r.Late, leaf: r.Leaf, record: leaf.Record,
		at: place{w.next.end, uint64(len(a.Raw)), crc32.Checksum(a.Raw, castagnoli)}}
	if n, err := hex.Decode(e.tx[:], []byte(r.Tx)); err != nil || n != len(e.tx) {
		return fmt.Errorf("records: transaction id %q", r.Tx)
	}
	var old record
	if a.Op.Version > 1 {
		b, err := w.read(key)
		if err != nil {
			return err
		}
		if old, err = decodeRecord(b); err != nil {
			return err
		}
		e.previous = old.position + 1
	}
	now := old
	now.header, now.position = a.Effect.Header, r.Position
	if v := a.Effect.Value; v != nil {
		if i := bytes.Index(a.Raw, v); i >= 0 {
			now.inline, now.at = nil, span{r.Position, uint64(i), uint64(len(v))}
		} else {
			now.inline = v
		}
	}
	if a.Op.Kind == model.KindLicence {
		if err := w.licence(a, &old, &now); err != nil {
			return err
		}
	} else {
		w.changed[string(key)] = true
	}
	if a.Op.Kind == model.KindAgency {
		if err := w.keys(a, r.Position); err != nil {
			return err
		}
	}
	if a.Op.Version == 1 {
		if err := w.serial(a.Op.Kind, a.Op.Record); err != nil {
			return err
		}
	}
	w.put(key, now.encode())
	w.put(logKey(r.Position), e.encode())
	w.ops = append(w.ops, a.Raw...)
	w.next.end += uint64(len(a.Raw))
	w.putOnce(operationKey(a.Op.ID), binary.BigEndian.AppendUint64(nil, r.Position))
	w.next.position++
	return nil
}

// licence keeps the claims on natural names.
//
// A name is given up on the day on which what gives it up takes effect, and nothing happens here on that
// day. So an end or a change that was recorded ahead of its day gives up nothing: the number stays taken,
// until a later operation ends the licence by then, rather than be free while the licence is in force.
func (w *Writer) licence(a *model.Applied, old, now *record) error {
	id, today := a.Op.Record, a.Op.Time.Date()
	w.touched = append(w.touched, id)
	var v *model.Licence
	stated := old.header.Exists() // what it stated before is given up
	switch b := a.Body.(type) {
	case *model.IssueBody:
		v = &b.Value
	case *model.AmendBody:
		v = &b.Value
		stated = stated && (b.How == model.Correct || b.Effective <= today)
	}
	if v == nil {
		if !now.holds || !now.header.State.Ended() || now.header.Effective > today {
			return nil
		}
		now.holds = false
		return w.claim(now, id)
	}
	now.identifier, now.number, now.files = string(v.Identifier), numberClaim(v.Type, v.Number), nil
	if f := v.File; f != nil {
		now.files = append(append(make([]byte, 0, 64), f.SHA256[:]...), f.SM3[:]...)
	}
	if stated {
		old.holds = false
		if err := w.claim(old, id); err != nil {
			return err
		}
	}
	now.holds = true
	return w.claim(now, id)
}

// claim notes under each of a record's names whether it holds them.
func (w *Writer) claim(r *record, id model.RecordID) error {
	for _, key := range r.names() {
		b, err := w.read(key)
		if err != nil {
			return err
		}
		c, err := decodeClaims(b)
		if err != nil {
			return err
		}
		if !c.set(id, r.holds) {
			continue
		}
		for _, x := range c.list {
			if x.id != id {
				w.touched = append(w.touched, x.id)
			}
		}
		w.put(key, c.encode())
	}
	return nil
}

// keys keeps the windows of an agency's keys.
func (w *Writer) keys(a *model.Applied, at uint64) error {
	agency := model.AgencyID(a.Op.Record)
	listed := map[string]bool{}
	if a.Effect.Header.State == model.Active {
		if a.Effect.Value == nil {
			return nil
		}
		entry, err := model.DecodeEntry(model.KindAgency, a.Op.Record, a.Effect.Value)
		if err != nil {
			return err
		}
		keys := entry.(*model.Agency).Keys
		for i := range keys {
			k := &keys[i]
			if k.Retired {
				continue
			}
			listed[k.ID] = true
			if err := w.window(keyKey(agency, k.ID), func(ws []window) ([]window, bool) { return list(ws, k, at) }); err != nil {
				return err
			}
		}
	}
	// What is no longer listed as active is retired: by rotation, by k approvals, or with the agency.
	known, err := w.keyIDs(agency)
	if err != nil {
		return err
	}
	for _, id := range known {
		if listed[id] {
			continue
		}
		if err := w.window(keyKey(agency, id), func(ws []window) ([]window, bool) { return ws, retire(ws, at) }); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) window(key []byte, change func([]window) ([]window, bool)) error {
	b, err := w.read(key)
	if err != nil {
		return err
	}
	ws, err := decodeWindows(b)
	if err != nil {
		return err
	}
	ws, changed := change(ws)
	if changed {
		w.put(key, encodeWindows(ws))
	}
	return nil
}

// serial keeps the greatest serial of each agency and kind.
func (w *Writer) serial(kind model.Kind, id model.RecordID) error {
	agency, n, ok := id.Serial()
	if !ok {
		return nil
	}
	key := serialKey(kind, agency)
	b, err := w.read(key)
	if err != nil {
		return err
	}
	if b != nil && beGet(b) >= n {
		return nil
	}
	w.put(key, binary.BigEndian.AppendUint64(nil, n))
	return nil
}

// Commit applies what was gathered, and then shows it to readers.
//
// The crash argument: everything since the last Commit, the cursor included, is one batch of the database,
// which its journal holds whole or not at all. The operations are written to their file before, and what
// stands there beyond the cursor counts for nothing and is written over. So the death of the process loses
// nothing that was committed and leaves nothing half. Neither write is synced: after a power cut the
// database is as it was after some earlier Commit, says so by its cursor, and the follower applies the
// missing blocks again from the archive or the ledger; and operations that the file then lacks are
// restored from the blocks (restore.go). What a reader was told meanwhile was on the ledger and still is.
func (w *Writer) Commit() error {
	if w.err != nil {
		return w.err
	}
	if w.next.height == w.s.cursor().height {
		return nil
	}
	if w.s.gap < w.s.cursor().position {
		return fmt.Errorf("%w: operations from leaf %d on are missing", ErrDamaged, w.s.gap)
	}
	if err := w.s.ops.write(w.ops); err != nil {
		w.err = err
		return err
	}
	for i := range w.puts {
		for _, p := range w.puts[i] {
			w.batch.Put(p.key, p.value)
		}
	}
	w.batch.Put([]byte(spaceCursor), w.next.encode())
	w.batch.Put([]byte(spaceSynced), binary.BigEndian.AppendUint64(nil, uint64(w.s.ops.synced.Load())))
	if err := w.s.db.Write(w.batch, nil); err != nil && !w.s.holds(w.next) {
		w.err, w.failed = err, true
		return err
	}
	w.s.ops.grow(len(w.ops))
	w.s.gap = w.next.position
	err := w.s.publish(w.next, w.changed, w.touched)
	w.clear()
	w.err = err
	return err
}
