package model

// A ledger can take over another's operations before it begins its own: an embedded pilot's, when its members
// move to Fabric. See docs/spec/import-ledger.md.

// ImportID is the id of the one import record.
const ImportID RecordID = "import"

// MaxImportBlocks is the most blocks of the old ledger that one call of Import carries.
const MaxImportBlocks = 1000

// Import is how far an import is and, once it is closed, what was imported. While it is open it stands in the
// state without a header: it is no record yet.
type Import struct {
	Approvals []MSPID `json:"approvals" zl:"public,id"`    // of closing here, since the last block
	Blocks    uint64  `json:"blocks" zl:"public,number"`   // of the old ledger: the number of the next one
	Chain     Digest  `json:"chain" zl:"public,digest"`    // running digest of all leaves (Chain)
	Last      Digest  `json:"last" zl:"public,digest"`     // hash of the header of the last of these blocks
	Position  uint64  `json:"position" zl:"public,number"` // leaves so far, those of genesis included
	Source    Digest  `json:"source" zl:"public,digest"`   // hash of the header of the old ledger's block 0
}

func (*Import) whole() {}

func (i *Import) check() error {
	if i.Source.IsZero() || i.Last.IsZero() || i.Blocks == 0 {
		return E(CodeMissingField, "value")
	}
	return nil
}

// ImportBody is the body of the operation that closes an import. It is derived, never sent.
type ImportBody struct {
	Value Import `json:"value" zl:"public"`
}

func (b *ImportBody) check() error { return b.Value.check() }

// Operation is the operation that closes the import at a time. Contract and followers derive it alike.
func (i *Import) Operation(at Time) (Operation, error) {
	body, err := Canonical(ImportBody{Value: *i})
	if err != nil {
		return Operation{}, err
	}
	return Operation{
		Body: body, ID: DeriveOpID("", "import", i.Source.String(), 0), Kind: KindImport, Record: ImportID,
		Time: at, Type: ImportClosed, Version: 1,
	}, nil
}

// Chain folds one more leaf into the running digest of a log, zero for an empty one: SHA-256(before ‖ operation
// digest ‖ record digest). These two digests fix the leaf: kind, id, version and state are in the record's, and
// the record's leaf before stands earlier in the log.
func Chain(before, operation, record Digest) Digest {
	var b [96]byte
	copy(b[:], before[:])
	copy(b[32:], operation[:])
	copy(b[64:], record[:])
	return DigestOf(b[:])
}

// Derived reports whether operations of the type are derived by the contract and never sent.
func Derived(t Type) bool { return t == Genesis || t == ImportClosed }
