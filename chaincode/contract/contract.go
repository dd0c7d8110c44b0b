// Package contract is the chaincode: Init, Apply and Get over the ledger's state. Execute is a pure
// function of state and call; an endorser runs it through the shim (shim.go), every node's follower runs
// it again on what a block says and compares the writes.
package contract

import (
	"bytes"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract/licence"
	"github.com/zhenglian/zhenglian/chaincode/contract/registry"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// MaxLevel is the highest contract.level that this build can run.
const MaxLevel = registry.MaxLevel

// MaxSkew is the most that an operation's time may differ from its proposal's.
const MaxSkew = 60 * time.Second

// Contract decides calls. It is safe for concurrent use.
type Contract struct {
	// Name is the chaincode's name on its channel. Invoke answers writing calls only where the proposal is for this
	// name; through another chaincode it is asked questions at most. Empty asks for nothing.
	Name string
	// Genesis is the digest of the one document that Init accepts here.
	Genesis model.Digest
	// ImportFrom is the hash of the header of block 0 of the one ledger that Init takes over here; zero where
	// none is to be.
	ImportFrom model.Digest
	// Verify checks a signature by an agency's key: alg as in the registry, public the uncompressed point.
	Verify func(alg string, public, message, signature []byte) error
	// Decoded may be shared by contracts of one process; nil remembers nothing.
	Decoded *Decoded
	// Clock is read by the shim side alone; nil is time.Now.
	Clock func() time.Time
	// Trouble is told by the shim side why a call failed where its code alone does not say so: internal
	// errors and imports. nil tells nobody. It is called from the calls' own goroutines.
	Trouble func(error)
}

// Execute decides a call on a state. An error fails the call as a whole and means that nothing of it may
// ever stand in a block: malformed arguments, a personal identifier, a foreign caller of Init.
//
// When any operation is refused the execution lists the refusals and writes nothing; each is judged as
// if those before it that were accepted had been applied.
func (c *Contract) Execute(state model.StateReader, call model.Call) (*model.Execution, error) {
	t := newTx(state)
	switch call.Function {
	case model.FunctionInit:
		return c.init(t, call)
	case model.FunctionApply:
		return c.apply(t, call)
	case model.FunctionImport:
		return c.importBlocks(t, call)
	case model.FunctionCloseImport:
		return c.closeImport(t, call)
	}
	return nil, model.E(model.CodeUnknownOperation)
}

func (c *Contract) init(t *tx, call model.Call) (*model.Execution, error) {
	if len(call.Args) == 0 || len(call.Args) > 2 {
		return nil, model.E(model.CodeMissingField)
	}
	doc, digest, err := model.DecodeGenesis(call.Args[0])
	if err != nil {
		return nil, err
	}
	if digest != c.Genesis {
		return nil, model.E(model.CodeGenesisMismatch)
	}
	if b, err := t.raw(model.ContractKey); err != nil {
		return nil, err
	} else if b != nil {
		return nil, model.E(model.CodeInitialised)
	}
	if doc.Policy.Level > MaxLevel {
		return nil, model.E(model.CodeLevelUnsupported)
	}
	ops, err := doc.Operations()
	if err != nil {
		return nil, err
	}
	if err := c.source(doc.Channel, call.Args[1:]); err != nil {
		return nil, err
	}
	var x model.Execution
	for i := range ops {
		body, err := model.DecodeBody(&ops[i])
		if err != nil {
			return nil, err
		}
		effect, err := registry.Genesis(t, &ops[i], body.(*model.GenesisBody))
		if err != nil {
			return nil, err
		}
		raw := ops[i].Encode()
		if err := t.accept(&x, call, raw, model.DigestOf(raw), ops[i], body, effect); err != nil {
			return nil, err
		}
	}
	if len(call.Args) == 2 {
		if err := t.beginImport(c.ImportFrom, call.Args[1], x.Applied); err != nil {
			return nil, err
		}
	}
	t.put(model.ContractKey, contractState(digest, len(call.Args) == 2))
	t.put(model.RegistryVersionKey, []byte("1"))
	return t.finish(&x, nil)
}

// opened ends the contract's state while an import is open.
const opened = `,"import":"open"}`

// contractState is what stands under ContractKey. Apply reads it in any case, so that an import costs the
// calls after it nothing.
func contractState(genesis model.Digest, importing bool) []byte {
	b := []byte(`{"genesis":"` + genesis.String() + `"`)
	if importing {
		return append(b, opened...)
	}
	return append(b, '}')
}

func (c *Contract) apply(t *tx, call model.Call) (*model.Execution, error) {
	x := &model.Execution{}
	refused, err := c.run(t, x, call, false)
	if err != nil {
		return nil, err
	}
	return t.finish(x, refused)
}

// run decides the operations of a call of Apply and notes what those that it accepts do. importing says that
// the call is of the old ledger, which is the only one that an open import lets in.
func (c *Contract) run(t *tx, x *model.Execution, call model.Call, importing bool) ([]model.Refusal, error) {
	var err error
	if call.Args, err = model.Unpack(call.Args); err != nil {
		return nil, err
	}
	ops := make([]model.Operation, len(call.Args))
	bodies := make([]any, len(call.Args)) // of operations that were decoded before
	digests := make([]model.Digest, len(call.Args))
	for i, raw := range call.Args {
		digests[i] = model.DigestOf(raw)
		if d, ok := c.Decoded.find(digests[i]); ok {
			ops[i], bodies[i] = d.op, d.body
			continue
		}
		if c.Decoded != nil {
			raw = bytes.Clone(raw) // what is remembered would hold the whole pack or block that this is a part of
		}
		if ops[i], err = model.DecodeOperation(raw); err != nil {
			return nil, err
		}
		if model.Derived(ops[i].Type) {
			return nil, model.E(model.CodeUnknownOperation)
		}
	}
	if err := t.prefetch(ops); err != nil {
		return nil, err
	}
	if b, err := t.raw(model.ContractKey); err != nil {
		return nil, err
	} else if b == nil {
		return nil, model.E(model.CodeNotInitialised)
	} else if !importing && bytes.HasSuffix(b, []byte(opened)) {
		return nil, model.E(model.CodeImportOpen)
	}
	p, err := registry.Policy(t)
	if err != nil {
		return nil, err
	} else if p.Level > MaxLevel {
		return nil, model.E(model.CodeLevelUnsupported)
	} else if p.Level < MaxLevel {
		for i := range ops { // what contracts of the ledger's level do not know fails here as it does there
			if model.Level(ops[i].Type) > p.Level {
				return nil, model.E(model.CodeUnknownOperation)
			}
		}
	}
	x.Applied = slices.Grow(x.Applied, len(ops))
	clear(t.checked) // of another caller's
	if err := t.known(call, ops); err != nil {
		return nil, err
	}
	var refused []model.Refusal
	for i := range ops {
		body, err := bodies[i], error(nil)
		if body == nil {
			if body, err = model.DecodeBody(&ops[i]); err == nil {
				c.Decoded.keep(digests[i], decoded{ops[i], body})
			}
		}
		err = model.Below(p.Level, &ops[i], body, err)
		var effect model.Effect
		if err == nil {
			effect, err = c.one(t, call, &ops[i], body)
		}
		if err != nil {
			e := model.AsError(err)
			if e.Code == model.CodePersonalIdentifier || e.Kind() == model.Internal {
				return nil, e
			}
			refused = append(refused, model.Refusal{Index: i, Code: e.Code, Field: e.Field})
			continue
		}
		if err := t.accept(x, call, call.Args[i], digests[i], ops[i], body, effect); err != nil {
			return nil, err
		}
	}
	return refused, nil
}

func (c *Contract) one(t *tx, call model.Call, op *model.Operation, body any) (effect model.Effect, err error) {
	if d := op.Time.Time().Sub(call.Time); d > MaxSkew || d < -MaxSkew {
		return effect, model.E(model.CodeTimeMismatch, "time")
	}
	if err := t.caller(call, op.Agency); err != nil {
		return effect, err
	}
	if m := model.Machines[op.Kind]; m.Creates(op.Type) {
		creator, n, serial := op.Record.Serial()
		if serial && creator != op.Agency {
			return effect, model.E(model.CodeBadID, "record").With("a new record's id begins with the acting agency")
		}
		if serial && n > model.MaxSerial {
			return effect, model.E(model.CodeBadID, "record").With("a new record's serial is at most %d", uint64(model.MaxSerial))
		}
	}
	if op.Kind == model.KindLicence {
		return licence.Apply(t, op, body)
	}
	return registry.Apply(t, op, body, registry.Caller{Msp: call.Msp, CommonName: call.CommonName, Verify: c.Verify})
}

// known fails a call whose creator acts for none of its operations' agencies, before anything of them is read that
// costs time: any certificate of a member can be used to send a thousand.
func (t *tx) known(call model.Call, ops []model.Operation) (first error) {
	for i := range ops {
		err := t.caller(call, ops[i].Agency)
		if err == nil || model.AsError(err).Kind() == model.Internal {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// caller checks that the creator may speak for the agency: same organisation, and the certificate's
// common name is the agency itself or the node that the registry says acts for it.
func (t *tx) caller(call model.Call, agency model.AgencyID) error {
	if t.checked[agency] {
		return nil
	}
	a, err := registry.Agency(t, agency)
	if err != nil {
		return err
	}
	if a.Msp != call.Msp || (call.CommonName != string(a.ID) && call.CommonName != string(a.Node)) {
		return model.E(model.CodeNotActingFor, "agency")
	}
	o, err := registry.Organisation(t, a.Msp)
	if err != nil {
		return err
	}
	if call.CommonName == string(a.Node) {
		known := false
		for _, n := range o.Nodes {
			known = known || n == a.Node
		}
		if !known {
			return model.E(model.CodeNotActingFor, "agency")
		}
	}
	t.checked[agency] = true
	return nil
}

// accept applies an operation's effect and notes it.
func (t *tx) accept(x *model.Execution, call model.Call, raw []byte, digest model.Digest, op model.Operation, body any, e model.Effect) error {
	if err := t.set(&op, e); err != nil {
		return err
	}
	x.Applied = append(x.Applied, model.Applied{Op: op, Raw: raw, Digest: digest, Body: body, Effect: e, Msp: call.Msp, At: model.TimeOf(call.Time)})
	return nil
}

// finish gives the execution its response and, if nothing was refused, its writes.
func (t *tx) finish(x *model.Execution, refused []model.Refusal) (*model.Execution, error) {
	r := model.Response{Accepted: len(x.Applied), Refused: refused}
	var err error
	if x.Response, err = model.Canonical(r); err != nil {
		return nil, err
	}
	if len(refused) > 0 {
		x.Applied = nil
		return x, nil
	}
	for key, c := range t.cells {
		if v, dirty := c.encode(); dirty {
			x.Writes = append(x.Writes, model.StateWrite{Key: key, Value: v})
		}
	}
	sort.Slice(x.Writes, func(i, j int) bool { return x.Writes[i].Key < x.Writes[j].Key })
	return x, nil
}

// Get answers the read function: the entry or header of a record, canonical. Of an open import it answers
// how far that is, with an empty header.
func Get(state model.StateReader, kind model.Kind, id model.RecordID) ([]byte, error) {
	if model.Machines[kind] == nil {
		return nil, model.E(model.CodeBadValue, "kind")
	}
	if _, err := model.ParseRecordID(string(id)); err != nil {
		return nil, err
	}
	t := newTx(state)
	h, err := t.Header(kind, id)
	if err != nil {
		return nil, err
	}
	e := model.StateEntry{Header: h}
	if model.NewEntry(kind) != nil {
		_, e.Value, err = t.entry(kind, id)
		if err != nil {
			return nil, err
		}
	}
	if !h.Exists() && (kind != model.KindImport || e.Value == nil) {
		return nil, model.E(model.CodeNotFound)
	}
	return model.Canonical(e)
}

// RegistryVersion reads the registry's version.
func RegistryVersion(state model.StateReader) (uint64, error) {
	b, err := state.Get(model.RegistryVersionKey)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 64)
}
