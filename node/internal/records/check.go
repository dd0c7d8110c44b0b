package records

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Check reads all of a snapshot and holds every part against the others: the log's positions run without
// a gap, each leaf's hash follows from its operation and the leaf before, every record stands as its latest
// leaf says, and the ways to find records lead to them. It does not know what the ledger holds: rebuilding
// from the archive and comparing Digest does.
func (s *Store) Check(ctx context.Context) error {
	snap := s.Snapshot()
	defer snap.Release()
	c := checking{ctx: ctx, s: snap, latest: map[string]uint64{}}
	for _, step := range []struct {
		prefix string
		fn     func(key, value []byte) error
	}{
		{spaceLog, c.log}, {spaceRecord, c.record}, {spaceOperation, c.operation}, {spaceIdentifier, c.claims},
		{spaceNumber, c.claims}, {spaceDigest, c.claims}, {spaceKey, c.windows}, {spaceAgency, c.serial}, {spaceState, c.state}, {spaceVersion, c.version}, {spaceTx, c.transaction},
	} {
		if err := c.each(step.prefix, step.fn); err != nil {
			return err
		}
	}
	if c.leaves != snap.Position() || c.operations != c.leaves || c.records != len(c.latest) || uint64(c.end) != snap.epoch.end {
		return fmt.Errorf("%w: %d leaves, %d operations, %d of %d records at position %d",
			ErrDamaged, c.leaves, c.operations, c.records, len(c.latest), snap.Position())
	}
	return nil
}

type checking struct {
	ctx        context.Context
	s          *Snapshot
	latest     map[string]uint64 // position of each record's latest leaf, by record key
	leaves     uint64
	end        int64 // of the last operation read
	operations uint64
	records    int
}

func (c *checking) each(prefix string, fn func(key, value []byte) error) error {
	it := c.s.epoch.db.NewIterator(util.BytesPrefix([]byte(prefix)), &opt.ReadOptions{DontFillCache: true, Strict: opt.StrictAll})
	defer it.Release()
	for it.Next() {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err := fn(it.Key(), it.Value()); err != nil {
			return fmt.Errorf("key %q: %w", it.Key(), err)
		}
	}
	return it.Error()
}

func (c *checking) log(key, value []byte) error {
	position := beGet(key[len(spaceLog):])
	e, err := decodeEntry(value)
	if err != nil {
		return err
	}
	raw, err := c.s.raw(&e)
	if err != nil {
		return err
	}
	op, err := decodeOperation(raw)
	if err != nil {
		return err
	}
	var previous model.Digest
	id := string(recordKey(op.Kind, op.Record))
	last, known := c.latest[id]
	if known {
		before, err := c.s.entry(last)
		if err != nil {
			return err
		}
		previous = before.leaf
	}
	if int64(e.at.offset) != c.end {
		return fmt.Errorf("%w: the operation of leaf %d does not follow the one before", ErrDamaged, position)
	}
	c.end = e.end()
	if position != c.leaves || known != (e.previous > 0) || (known && e.previous-1 != last) || e.leafOf(&op, raw, previous).Hash() != e.leaf {
		return fmt.Errorf("%w: leaf %d", ErrDamaged, position)
	}
	c.latest[id] = position
	c.leaves++
	return nil
}

func (c *checking) record(key, value []byte) error {
	r, err := decodeRecord(value)
	if err != nil {
		return err
	}
	kind, id, _ := bytes.Cut(key[len(spaceRecord):], []byte("/"))
	position, known := c.latest[string(key)]
	if !known || position != r.position {
		return ErrDamaged
	}
	e, err := c.s.entry(position)
	if err != nil {
		return err
	}
	public, err := c.s.value(&r)
	if err != nil {
		return err
	}
	if e.state != r.header.State || model.DigestOf(public) != r.header.Value ||
		model.RecordDigest(model.Kind(kind), model.RecordID(id), r.header) != e.record {
		return ErrDamaged
	}
	c.records++
	if model.Kind(kind) != model.KindLicence {
		return nil
	}
	if !r.holds && !r.header.State.Ended() {
		return fmt.Errorf("%w: a standing licence without its names", ErrDamaged)
	}
	for _, name := range r.names() {
		x, err := c.s.claims(name)
		if err != nil {
			return err
		}
		found := x.overflow
		for _, n := range x.list {
			found = found || (n.id == model.RecordID(id) && n.holds == r.holds)
		}
		if !found {
			return fmt.Errorf("%w: no claim on %q", ErrDamaged, name)
		}
	}
	return nil
}

func (c *checking) operation(key, value []byte) error {
	e, ok, err := c.s.Entry(beGet(value))
	if err != nil {
		return err
	}
	if !ok || hex.EncodeToString(key[len(spaceOperation):]) != e.Operation.ID.String() {
		return ErrDamaged
	}
	c.operations++
	return nil
}

func (c *checking) claims(_, value []byte) error {
	x, err := decodeClaims(value)
	if err != nil {
		return err
	}
	for _, n := range x.list {
		if _, known := c.latest[string(recordKey(model.KindLicence, n.id))]; !known {
			return fmt.Errorf("%w: claimed by %s, which does not exist", ErrDamaged, n.id)
		}
	}
	return nil
}

// state checks that a key's version is one that there can be; the value is for the contract to read.
func (c *checking) state(_, value []byte) error {
	v, _, ok, err := decodeState(value)
	if err == nil && (!ok || v.block >= c.s.epoch.height) {
		err = fmt.Errorf("%w: written by block %d of %d", ErrDamaged, v.block, c.s.epoch.height)
	}
	return err
}

func (c *checking) version(_, value []byte) error {
	if len(value) == 0 {
		return nil // taken away
	}
	v, rest, _, err := decodeState(value)
	if err == nil && (len(rest) > 0 || v.block >= c.s.epoch.height) {
		err = ErrDamaged
	}
	return err
}

func (c *checking) transaction(_, value []byte) error {
	block, _, err := decodeTx(value)
	if err == nil && block >= c.s.epoch.height {
		err = ErrDamaged
	}
	return err
}

func (c *checking) windows(_, value []byte) error {
	ws, err := decodeWindows(value)
	for i := 1; i < len(ws); i++ {
		if ws[i].from < ws[i-1].until {
			return ErrDamaged
		}
	}
	return err
}

func (c *checking) serial(key, value []byte) error {
	if len(value) != 8 || beGet(value) == 0 {
		return ErrDamaged
	}
	_, _, ok := bytes.Cut(key[len(spaceAgency):], []byte("/"))
	if !ok {
		return ErrDamaged
	}
	return nil
}
