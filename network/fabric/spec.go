package fabric

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The channel and the contract of every Zhenglian network.
const (
	Channel  = "jjj"
	Contract = "zhenglian"
)

// Consensus is how the orderers agree.
type Consensus string

// The two kinds of ordering service. BFT needs Fabric 3.
const (
	Raft Consensus = "raft"
	BFT  Consensus = "bft"
)

// Spec describes a network. The zero value of a field means its default; [Up] keeps the whole of it in the
// network's folder, and later calls may leave out everything but Dir.
type Spec struct {
	Dir       string    `json:"dir"`       // the network's folder, absolute once kept
	Orgs      int       `json:"orgs"`      // organisations: 3 or 4 (default 4)
	Consensus Consensus `json:"consensus"` // default raft, 3 orderers; bft: 4 orderers

	Policy  int    `json:"policy"`  // organisations that must endorse; default ⌊n/2⌋+1
	Version string `json:"version"` // of the contract; default 1
	Batch   Batch  `json:"batch"`
	// Tick is the Raft clock: a leader is missed after ten of them. Default 250 ms.
	Tick time.Duration `json:"tick"`

	// Snapshot is how many bytes of blocks lie between two snapshots of an orderer's Raft log, when the channel is made.
	// Default 16 MiB. Fabric 2.5.0 to 2.5.2 can hang only while they replay the log's first entries (see Cure), which
	// the first snapshot sets aside.
	Snapshot int `json:"snapshot"`

	Bin       string `json:"bin"`       // folder with peer, orderer, configtxgen and cryptogen
	Program   string `json:"program"`   // zhenglian: founds the nodes and runs them; "" for no nodes at all
	Chaincode string `json:"chaincode"` // zl-chaincode, or "" to deploy no contract
	Builder   string `json:"builder"`   // program whose command `ccaas` is this package's Builder; default: the running one
	// Plain says that Chaincode is configured by Fabric's environment variables alone and has no --config.
	Plain bool `json:"plain"`
	// Idle founds the nodes without starting them.
	Idle bool `json:"idle"`

	// GenesisDigest and ImportFrom configure the contract where no nodes are founded here: an import of another
	// ledger has its genesis already.
	GenesisDigest string `json:"genesis_digest"`
	ImportFrom    string `json:"import_from"`

	Bind     string `json:"bind"`      // loopback address to listen on; default 127.0.0.1
	BasePort int    `json:"base_port"` // first of consecutive ports; 0: free ones
	Log      string `json:"log"`       // Fabric's logging specification; default warnings
	// Attached ends every process with this one, whatever happens to it. For tests.
	Attached bool `json:"-"`
}

// Batch says when an orderer cuts a block.
type Batch struct {
	Timeout   time.Duration `json:"timeout"`   // default 200 ms
	Messages  int           `json:"messages"`  // default 500
	Preferred int           `json:"preferred"` // bytes, default 2 MiB
	Absolute  int           `json:"absolute"`  // bytes, default 32 MiB: the largest transaction
}

// SpecError is a description that no network can be made of.
type SpecError struct {
	Field  string
	Reason string
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Reason }

// versionPattern is what Fabric takes in a chaincode's label, kept short.
var versionPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)

// filled returns the description with defaults in place and paths absolute, or says what is wrong with it.
func (s Spec) filled() (Spec, error) {
	if s.Dir == "" {
		return s, &SpecError{"dir", "give the network's folder"}
	}
	for _, p := range []*string{&s.Dir, &s.Bin, &s.Program, &s.Chaincode, &s.Builder} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return s, err
		}
		*p = abs
	}
	set(&s.Orgs, 4)
	set(&s.Consensus, Raft)
	set(&s.Policy, s.Orgs/2+1)
	set(&s.Version, "1")
	set(&s.Tick, 250*time.Millisecond)
	set(&s.Batch.Timeout, 200*time.Millisecond)
	set(&s.Batch.Messages, 500)
	set(&s.Batch.Preferred, 2<<20)
	set(&s.Batch.Absolute, 32<<20)
	set(&s.Snapshot, 16<<20)
	set(&s.Bind, "127.0.0.1")
	set(&s.Log, "warn:orderer.consensus.etcdraft=info")
	return s, s.check()
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (s Spec) check() error {
	ip := net.ParseIP(s.Bind)
	switch {
	case s.Orgs < 3 || s.Orgs > len(consortium):
		return &SpecError{"orgs", fmt.Sprintf("%d organisations; 3 or 4 can be had", s.Orgs)}
	case s.Consensus != Raft && s.Consensus != BFT:
		return &SpecError{"consensus", fmt.Sprintf("%q; raft or bft can be had", s.Consensus)}
	case s.Policy < 1 || s.Policy > s.Orgs:
		return &SpecError{"policy", fmt.Sprintf("%d of %d organisations can never endorse", s.Policy, s.Orgs)}
	case !versionPattern.MatchString(s.Version):
		return &SpecError{"version", fmt.Sprintf("%q; letters, digits, dots, hyphens and underscores, 32 at most", s.Version)}
	case s.Tick < 50*time.Millisecond || s.Tick > 10*time.Second:
		return &SpecError{"tick", fmt.Sprintf("%s; 50 ms to 10 s", s.Tick)}
	case s.Snapshot != 0 && (s.Snapshot < 64<<10 || s.Snapshot > 1<<30): // a network made before this could be chosen has none
		return &SpecError{"snapshot", fmt.Sprintf("%d bytes; 64 KiB to 1 GiB", s.Snapshot)}
	case s.Batch.Timeout < 10*time.Millisecond || s.Batch.Timeout > time.Minute:
		return &SpecError{"batch.timeout", fmt.Sprintf("%s; 10 ms to 1 minute", s.Batch.Timeout)}
	case s.Batch.Messages < 1 || s.Batch.Messages > 100_000:
		return &SpecError{"batch.messages", fmt.Sprintf("%d; 1 to 100,000", s.Batch.Messages)}
	case s.Batch.Preferred < 1024 || s.Batch.Preferred > s.Batch.Absolute:
		return &SpecError{"batch.preferred", fmt.Sprintf("%d bytes; 1 KiB to batch.absolute", s.Batch.Preferred)}
	case s.Batch.Absolute > 49<<20:
		return &SpecError{"batch.absolute", fmt.Sprintf("%d bytes; Fabric's messages carry 49 MiB", s.Batch.Absolute)}
	case ip == nil || !ip.IsLoopback():
		return &SpecError{"bind", fmt.Sprintf("%q; a loopback address, since these are test keys on one machine", s.Bind)}
	case s.BasePort != 0 && (s.BasePort < 1024 || s.BasePort > 65000):
		return &SpecError{"base_port", fmt.Sprintf("%d; 1024 to 65000, or 0 for free ports", s.BasePort)}
	}
	return nil
}

// programs checks that what the network runs is there.
func (s Spec) programs() error {
	var missing error
	need := func(field, path, cure string) {
		if st, err := os.Stat(path); err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
			missing = errors.Join(missing, &SpecError{field, fmt.Sprintf("%s is not a program: %s", path, cure)})
		}
	}
	for _, name := range []string{"peer", "orderer", "configtxgen", "cryptogen"} {
		need("bin", filepath.Join(s.Bin, name), "run `zl-network build`, or give --fabric-bin the folder of Fabric's binaries")
	}
	if s.Program != "" {
		need("program", s.Program, "run `make build`")
	}
	if s.Chaincode != "" {
		need("chaincode", s.Chaincode, "run `make build`")
		need("builder", s.Builder, "run `make build`")
	}
	return missing
}

// differs names what of a network cannot change while it lives and is wanted otherwise; "" where all is the same.
func (s Spec) differs(want Spec) (has, wanted string) {
	set(&s.Snapshot, want.Snapshot) // a network made before this could be chosen has none
	var a, b []string
	for _, part := range []struct {
		name      string
		has, want any
	}{
		{"--orgs", s.Orgs, want.Orgs}, {"--consensus", s.Consensus, want.Consensus},
		{"--batch-timeout", s.Batch.Timeout, want.Batch.Timeout}, {"--batch-messages", s.Batch.Messages, want.Batch.Messages},
		{"preferred bytes of a block", s.Batch.Preferred, want.Batch.Preferred}, {"most bytes of a block", s.Batch.Absolute, want.Batch.Absolute},
		{"--tick", s.Tick, want.Tick}, {"bytes between snapshots", s.Snapshot, want.Snapshot},
		{"--bind", s.Bind, want.Bind}, {"--base-port", s.BasePort, want.BasePort},
		{"--genesis-digest", s.GenesisDigest, want.GenesisDigest}, {"--import-from", s.ImportFrom, want.ImportFrom},
		{"a plain contract", s.Plain, want.Plain},
	} {
		if part.has != part.want {
			a, b = append(a, fmt.Sprintf("%s %v", part.name, part.has)), append(b, fmt.Sprintf("%s %v", part.name, part.want))
		}
	}
	return strings.Join(a, ", "), strings.Join(b, ", ")
}
