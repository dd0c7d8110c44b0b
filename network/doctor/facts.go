package doctor

import (
	"crypto/x509"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk"
)

// Facts are what was seen of a network. Judge makes findings of them.
type Facts struct {
	Dir      string // the network's folder
	Contract string
	Fabric   string // version of the programs
	BFT      bool
	Idle     bool // the nodes were founded and left stopped
	Now      time.Time
	Tick     time.Duration // of Raft: a leader sends a heartbeat in each
	Between  time.Duration // from the first look to the second

	Programs []*Program
	Files    []Certificate
	Disks    []Disk
	Channel  *Channel // nil: no peer could show the configuration
}

// Program is what was seen of one process.
type Program struct {
	Name string
	Kind fabric.Kind
	Org  string
	MSP  string

	Pid     int  // 0: it does not run
	Frozen  bool // stopped by a signal
	Former  bool // runs another program than it would be started with now
	LastLog string
	Sockets []Socket

	Silent string        // why it does not answer; "": it does
	Sick   string        // what its /healthz complains of
	Clock  time.Duration // its clock less this machine's
	Slack  time.Duration // how uncertain Clock is; 0: not known
	Served []Certificate // what its TLS listeners show

	Looks [2]Look // orderers and peers, some seconds apart

	Peer    *PeerFacts
	Service *ServiceFacts
	Node    *NodeFacts

	process *fabric.Process
}

// Socket is an address on which a program should listen.
type Socket struct {
	Address string
	Open    bool   // somebody listens
	Holder  int    // process that listens; 0: cannot be seen
	Command string // of that process
}

// PeerFacts are what a peer says of the contract.
type PeerFacts struct {
	Trouble   string // why it could not be asked
	Sequence  int64  // of the committed definition; 0: none
	Version   string
	Policy    *peer.ApplicationPolicy
	Approved  string   // package that its organisation approved for the committed sequence; "": none
	Installed []string // packages
	Reach     string   // why it cannot run the contract; "": it can
}

// ServiceFacts are what was seen of a contract's service.
type ServiceFacts struct {
	Contract, Version, PackageID string
	Ended                        bool
	Handshake                    string // why the peer's connection to it would fail
	Unready                      string // what its /readyz says
	Build                        string // version and revision that it names
	Level                        int    // highest contract level that it can run
	Digest                       string // of the program that runs
	Client                       []Certificate
}

// NodeFacts are what a node's admin listener says.
type NodeFacts struct {
	Dir       string
	Readiness sdk.Readiness
}

// Certificate is one that was met.
type Certificate struct {
	Cert    *x509.Certificate
	Where   string // file, address or place in the channel's configuration
	Program string // who depends on it, when known: its finding explains that program's other troubles
	Renew   string // name under which `zl-network renew` renews it; "": it does not
	Channel bool   // an authority in the channel's configuration
}

// Disk is a file system that the network writes to.
type Disk struct {
	Path        string
	Free, Total uint64 // bytes
}

// Channel is what the channel's configuration says.
type Channel struct {
	Capabilities map[string][]string // by group: channel, orderer, application
	Authorities  []Certificate
	Consenters   map[string][]byte // public key of the TLS server certificate by host:port
	Endorsement  *common.Policy    // of the application group; what a policy by reference means
	Orgs         map[string]*common.Policy
}

// Look is an orderer or a peer at one moment.
type Look struct {
	Known  bool
	Height uint64  // blocks
	Status string  // orderers: active, onboarding, inactive, failed
	Leads  bool    // orderers
	Beats  float64 // orderers: times that the Raft loop stored something; −1: it does not say
}
