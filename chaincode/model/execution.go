package model

import "time"

// StateReader is the ledger's state as a contract reads it: nil for a key that is absent. Contracts never see
// their own writes through it.
type StateReader interface {
	Get(key string) ([]byte, error)
}

// Prefetcher is a StateReader that can read many keys in one round trip.
type Prefetcher interface {
	GetMany(keys []string) ([][]byte, error)
}

// Functions of the contract.
const (
	FunctionInit  = "Init"  // the genesis document; beside it block 0 of the old ledger where one is taken over
	FunctionApply = "Apply" // 1..N arguments: operations, each in canonical form; or one argument, a pack of them (Pack)
	FunctionGet   = "Get"   // kind, id: the header, or the whole entry

	FunctionImport      = "Import"      // 1..N arguments: the next blocks of the old ledger, each a common.Block
	FunctionCloseImport = "CloseImport" // position and chain that the caller's organisation finds right
)

// MaxOperations is the most operations that one transaction carries.
const MaxOperations = 1000

// Call is one invocation of the contract as a transaction states it.
type Call struct {
	Function   string
	Args       [][]byte  // without the function name
	Msp        MSPID     // of the creator
	CommonName string    // of the creator's certificate: agency id or node id
	Time       time.Time // the proposal's timestamp
}

// Execution is what the contract makes of a call: the response and, only when it refuses no operation,
// the writes in key order and one effect an operation. Endorsers and followers compute it alike.
type Execution struct {
	Response []byte // canonical Response
	Writes   []StateWrite
	Applied  []Applied
}

// StateWrite is one write of state. Nothing is ever deleted.
type StateWrite struct {
	Key   string
	Value []byte
}

// Applied is an operation with what it did. Body is the decoded body.
//
// Msp and At say on whose word and when: of a call that is made now, the transaction's creator and
// timestamp; of an imported one, those of the transaction that carried it first. Followers take a receipt's
// organisation and ledger time from them, so that what is imported is neither the importer's nor late. Where
// they are zero, the transaction's own count.
type Applied struct {
	Op     Operation
	Raw    []byte // the operation's canonical bytes
	Digest Digest
	Body   any
	Effect Effect
	Msp    MSPID
	At     Time
}

// Response is the payload of Apply's and Init's response: codes, never text.
type Response struct {
	Accepted int       `json:"accepted"`
	Refused  []Refusal `json:"refused,omitempty"`
}

// Refusal is one refused operation of a transaction.
type Refusal struct {
	Index int    `json:"index"`
	Code  Code   `json:"code"`
	Field string `json:"field,omitempty"`
}

// StateEntry is a registry record as it stands whole in state and as Get returns it.
type StateEntry struct {
	Header Header   `json:"header"`
	Value  RawValue `json:"value,omitempty"`
}
