package contract

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// tx is one call's overlay over the state. Shim reads never see the transaction's own writes, so the
// overlay must: an operation sees what those before it in the call did. Handlers only read; an
// operation's effect is set after all its checks have passed, so a refused one leaves no trace.
//
// Used by one goroutine.
type tx struct {
	base    model.StateReader
	cells   map[string]*cell
	checked map[model.AgencyID]bool // agencies that the caller was found to act for
	// The licence that was located last: it is looked for again when the operation's effect is set.
	lastID model.RecordID
	last   *cell
}

// cell is one key of state, decoded at most once.
type cell struct {
	bytes []byte
	page  *model.Page

	header model.Header
	value  json.RawMessage
	entry  model.Entry // decoded value

	dirty bool
}

func (c *cell) encode() ([]byte, bool) {
	switch {
	case !c.dirty:
		return nil, false
	case c.page != nil:
		return c.page.Encode(), true
	case c.value != nil:
		return encodeEntry(c.header, c.value), true
	}
	return c.bytes, true
}

// encodeEntry is canonical by construction: both parts are.
func encodeEntry(h model.Header, value json.RawMessage) []byte {
	hb, err := model.Canonical(h)
	if err != nil {
		panic("a header always encodes: " + err.Error())
	}
	b := append([]byte(`{"header":`), hb...)
	b = append(append(b, `,"value":`...), value...)
	return append(b, '}')
}

func newTx(base model.StateReader) *tx {
	return &tx{base: base, cells: map[string]*cell{}, checked: map[model.AgencyID]bool{}}
}

// prefetch reads the pages of all operations in one round trip where the peer can.
func (t *tx) prefetch(ops []model.Operation) error {
	p, ok := t.base.(model.Prefetcher)
	if !ok || len(ops) < 2 {
		return nil
	}
	keys := []string{model.ContractKey, model.StateKey(model.KindPolicy, model.PolicyID)}
	seen := map[string]bool{}
	keys = slices.DeleteFunc(keys, func(k string) bool { seen[k] = true; return t.cells[k] != nil })
	add := func(k string) {
		if k != "" && !seen[k] && t.cells[k] == nil {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	for i := range ops {
		add(model.StateKey(ops[i].Kind, ops[i].Record))
		add(model.StateKey(model.KindAgency, model.RecordID(ops[i].Agency)))
	}
	if len(keys) == 0 {
		return nil
	}
	values, err := p.GetMany(keys)
	if err != nil {
		return err
	}
	for i, k := range keys {
		t.cells[k] = &cell{bytes: values[i]}
	}
	return nil
}

func (t *tx) cell(key string) (*cell, error) {
	if c, ok := t.cells[key]; ok {
		return c, nil
	}
	b, err := t.base.Get(key)
	if err != nil {
		return nil, err
	}
	c := &cell{bytes: b}
	t.cells[key] = c
	return c, nil
}

func (t *tx) raw(key string) ([]byte, error) {
	c, err := t.cell(key)
	if err != nil {
		return nil, err
	}
	return c.bytes, nil
}

func (t *tx) put(key string, value []byte) {
	t.cells[key] = &cell{bytes: value, dirty: true}
}

// locate finds a record's cell, decoded.
func (t *tx) locate(kind model.Kind, id model.RecordID) (*cell, error) {
	if kind == model.KindLicence && t.last != nil && t.lastID == id {
		return t.last, nil
	}
	key := model.StateKey(kind, id)
	if key == "" {
		return nil, model.E(model.CodeBadID, "record")
	}
	c, err := t.cell(key)
	if err != nil {
		return nil, err
	}
	switch {
	case model.NewEntry(kind) == nil:
		if c.page == nil {
			p, err := model.DecodePage(kind, c.bytes)
			if err != nil {
				return nil, model.E(model.CodeInternal).Because(err)
			}
			c.page = &p
		}
	case c.value == nil && c.bytes != nil:
		var e model.StateEntry
		if err := model.DecodeCanonical(c.bytes, &e); err != nil {
			return nil, model.E(model.CodeInternal).Because(err)
		}
		c.header, c.value = e.Header, e.Value
	}
	if kind == model.KindLicence {
		t.lastID, t.last = id, c
	}
	return c, nil
}

// Header is a record's header, zero where there is none.
func (t *tx) Header(kind model.Kind, id model.RecordID) (model.Header, error) {
	c, err := t.locate(kind, id)
	if err != nil {
		return model.Header{}, err
	}
	if c.page != nil {
		return c.page.Headers[model.PageSlot(id)], nil
	}
	return c.header, nil
}

// Entry is a registry record with its decoded value, nil where there is none. It is shared: read only.
func (t *tx) Entry(kind model.Kind, id model.RecordID) (model.Header, model.Entry, error) {
	c, err := t.locate(kind, id)
	if err != nil || c.value == nil {
		return model.Header{}, nil, err
	}
	if c.entry == nil {
		if c.entry, err = model.DecodeEntry(kind, id, c.value); err != nil {
			return model.Header{}, nil, model.E(model.CodeInternal).Because(err)
		}
	}
	return c.header, c.entry, nil
}

func (t *tx) entry(kind model.Kind, id model.RecordID) (model.Header, json.RawMessage, error) {
	c, err := t.locate(kind, id)
	if err != nil {
		return model.Header{}, nil, err
	}
	return c.header, c.value, nil
}

// RegistryVersion is the registry's version as this call sees it.
func (t *tx) RegistryVersion() (uint64, error) {
	b, err := t.raw(model.RegistryVersionKey)
	if err != nil || b == nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 64)
}

// set writes an effect into the overlay.
func (t *tx) set(op *model.Operation, e model.Effect) error {
	c, err := t.locate(op.Kind, op.Record)
	if err != nil {
		return err
	}
	c.dirty = true
	if c.page != nil {
		c.page.Headers[model.PageSlot(op.Record)] = e.Header
		return nil
	}
	c.header = e.Header
	if e.Value != nil {
		c.value, c.entry = e.Value, nil
	}
	if op.Kind == model.KindOrganisation || op.Kind == model.KindAgency {
		clear(t.checked) // who acts for whom may have changed
	}
	if op.Kind == model.KindOrganisation {
		n, err := t.Members()
		if err != nil {
			return err
		}
		if e.Header.Version == 1 {
			n++
		} else if e.Header.State == model.Removed {
			n--
		}
		t.put(model.MembersKey, strconv.AppendInt(nil, int64(n), 10))
	}
	if !model.ChangesRegistry(op.Type) {
		return nil
	}
	v, err := t.RegistryVersion()
	if err != nil {
		return err
	}
	t.put(model.RegistryVersionKey, strconv.AppendUint(nil, v+1, 10))
	return nil
}

// Members counts the organisations that are members now.
func (t *tx) Members() (int, error) {
	b, err := t.raw(model.MembersKey)
	if err != nil || b == nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}
