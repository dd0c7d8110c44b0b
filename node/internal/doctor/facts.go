package doctor

import (
	"context"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Status is how a running node is: what its admin listener answers at /status.
type Status struct {
	Node      model.NodeID  `json:"node"`
	Version   string        `json:"version"`
	PID       int           `json:"pid"`
	Started   time.Time     `json:"started"`
	Now       time.Time     `json:"now"`
	Stepped   float64       `json:"clock_stepped_seconds"` // how far the clock was set since the start; positive: forward
	Blocks    uint64        `json:"blocks"`                // applied to the records
	Archived  uint64        `json:"archived_blocks"`
	Position  uint64        `json:"position"`    // leaves
	Ledger    model.Time    `json:"ledger_time"` // the largest valid transaction's time
	Age       float64       `json:"age_seconds"` // since the node last knew that it was at the head; −1: never
	Behind    bool          `json:"behind"`      // the ledger has blocks that are not applied here
	Waiting   int           `json:"waiting"`     // operations in the outbox
	Oldest    float64       `json:"oldest_seconds"`
	Endpoints []Address     `json:"endpoints"` // of other nodes, as registered
	Ready     sdk.Readiness `json:"ready"`
}

// Address is where an agency's node is reached.
type Address struct {
	Agency model.AgencyID `json:"agency"`
	URL    string         `json:"url"`
}

// Target is a node as it is configured. Paths are absolute or relative to the working directory.
type Target struct {
	Dir      string
	Node     model.NodeID
	Listen   string
	Admin    string
	Embedded bool // the ledger runs in the node
	Gateways []Gateway
	Certs    []CertFile
	Needed   []string // files and folders that cannot be made anew
	Private  []string // files that nobody else may read
	Reserve  uint64   // bytes of disk below which nothing is accepted
	Records  string   // folders of the stores
	Archive  string
	Keys     []Key // API keys in force

	Upgrade error  // why this build does not serve the folder, nil if it does
	Newer   bool   // because another build is newer
	Finding string // what stopped the follower, "" for nothing
	Backup  time.Time

	Restored time.Time // when the backup was made that the node is of, until the operator has confirmed; zero: nothing to confirm
	KeysKept bool      // by that restore
	Differs  bool      // the records made from that backup are not those of the node that was saved

	Status func(context.Context) (*Status, error) // of the running node
	// Stores reads how far the stores of a stopped node have come.
	Stores func() Stores
}

// Gateway is where the ledger is dialled.
type Gateway struct{ Address, Roots, ServerName string }

// CertFile is a certificate in a file, with its key or without.
type CertFile struct {
	Name      Text
	Cert, Key string
	Renew     Text // how it is renewed
}

// Key is an API key.
type Key struct {
	ID, Name string
	Expires  time.Time // zero: never
}

// Stores is what a stopped node's stores hold.
type Stores struct {
	InUse    bool // a process has them open
	Blocks   uint64
	Position uint64
	Ledger   model.Time
	Archived uint64
	Records  error // why the records cannot be read
	Archive  error
}

// Facts is what was seen.
type Facts struct {
	*Target
	Now       time.Time
	Running   *Status
	Down      error // why Running is nil
	At        Stores
	Missing   []string
	Exposed   []string
	Disk      Disk
	DiskError error
	Certs     []CertFact
	Ports     []PortFact
	Dialled   []DialFact
	Clocks    []ClockFact
	InStep    Sync
}

// Disk is the room under a node's folder. Growth is an estimate, from the archive's segments of the last week.
type Disk struct {
	Free, Total, Used uint64
	PerDay            uint64 // bytes; 0 where it cannot be told
	PerMillion        uint64 // bytes of the folder for a million leaves of the log; 0 where it cannot be told
}

// CertFact is a certificate as read.
type CertFact struct {
	CertFile
	From, Until time.Time
	Err         error
}

// PortFact is an address that a stopped node could not have.
type PortFact struct {
	Key, Address string
	Err          error
}

// DialFact is a gateway as reached.
type DialFact struct {
	Gateway
	Until time.Time // of the server's certificate
	TCP   error
	TLS   error
}

// ClockFact is what another machine's clock said.
type ClockFact struct {
	Who    string
	Offset time.Duration // of this machine's clock against it; positive: ahead
	Slack  time.Duration
	Err    error
}

// Sync says whether a time service keeps the clock in step, as the kernel says.
type Sync int

// Answers of the kernel.
const (
	SyncUnknown Sync = iota
	SyncKept
	SyncNone
)
