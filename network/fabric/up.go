package fabric

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Step is a part of bringing a network up, told when it ends.
type Step struct {
	Name string        `json:"name"`
	Took time.Duration `json:"took"`
	Note string        `json:"note,omitempty"` // what an operator should know of it
	Err  error         `json:"-"`
}

// Up makes the network of a folder, or repairs it: what is there and runs stays as it is. A description that differs
// from the network's in version or policy upgrades the contract; one that differs in what cannot change is refused
// with a [*SpecError]. The zero fields of spec are taken from the network when there is one.
//
// progress is called at the end of each step, also of the one that failed; it may be nil.
//
// Up may be interrupted at any moment and called again: each step looks at what there is.
func Up(ctx context.Context, spec Spec, progress func(Step)) (*Network, error) {
	dir, err := filepath.Abs(spec.Dir)
	if err != nil || spec.Dir == "" {
		return nil, errors.Join(err, &SpecError{"dir", "give the network's folder"})
	}
	spec.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	u := &up{progress: progress}
	if u.progress == nil {
		u.progress = func(Step) {}
	}
	if err := u.load(ctx, spec); err != nil {
		if _, gone := os.Stat(filepath.Join(dir, stateFile)); errors.Is(gone, os.ErrNotExist) {
			// Nothing was made of it. A folder that holds something else stays.
			_ = os.Remove(filepath.Join(dir, lockFile))
			_ = os.Remove(dir)
		}
		return nil, err
	}
	return u.n, u.run(ctx)
}

type up struct {
	n        *Network
	want     Spec // version and policy may differ from the network's
	version  fabricVersion
	progress func(Step)
}

// load finds or makes the network's state.
func (u *up) load(ctx context.Context, spec Spec) error {
	old, err := loadState(spec.Dir)
	if err != nil && !errors.Is(err, ErrNoNetwork) {
		return err
	}
	if spec.Builder == "" {
		if old != nil {
			spec.Builder = old.Spec.Builder
		} else if spec.Builder, err = os.Executable(); err != nil {
			return err
		}
	}
	if old != nil {
		spec = spec.over(old.Spec)
	}
	if spec, err = spec.filled(); err != nil {
		return err
	}
	if err := spec.programs(); err != nil {
		return err
	}
	if u.version, err = binaries(ctx, spec.Bin); err != nil {
		return err
	}
	if err := u.version.check(spec); err != nil {
		return err
	}
	u.want = spec
	s := &state{Format: stateFormat, Spec: spec, Fabric: u.version.String(), Ports: map[string]int{}}
	if old != nil {
		if has, wanted := old.Spec.differs(spec); has != "" {
			return &SpecError{"dir", fmt.Sprintf("the network in %s is another: it has %s, wanted is %s: `zl-network down --purge` first, or another --dir", spec.Dir, has, wanted)}
		}
		s = old
		s.Fabric = u.version.String()
		s.Spec.Bin, s.Spec.Program, s.Spec.Chaincode, s.Spec.Builder, s.Spec.Log = spec.Bin, spec.Program, spec.Chaincode, spec.Builder, spec.Log
	}
	if err := folders(spec.Dir); err != nil {
		return err
	}
	if u.n, err = assemble(s, spec.Attached); err != nil {
		return err
	}
	return s.save()
}

// over fills what a description leaves open from the network's own.
func (s Spec) over(old Spec) Spec {
	set(&s.Orgs, old.Orgs)
	set(&s.Consensus, old.Consensus)
	set(&s.Policy, old.Policy)
	set(&s.Version, old.Version)
	set(&s.Tick, old.Tick)
	set(&s.Batch.Timeout, old.Batch.Timeout)
	set(&s.Batch.Messages, old.Batch.Messages)
	set(&s.Batch.Preferred, old.Batch.Preferred)
	set(&s.Batch.Absolute, old.Batch.Absolute)
	set(&s.Snapshot, old.Snapshot)
	set(&s.Bin, old.Bin)
	set(&s.Program, old.Program)
	set(&s.Chaincode, old.Chaincode)
	set(&s.Plain, old.Plain)
	set(&s.GenesisDigest, old.GenesisDigest)
	set(&s.ImportFrom, old.ImportFrom)
	set(&s.Bind, old.Bind)
	set(&s.BasePort, old.BasePort)
	set(&s.Log, old.Log)
	return s
}

func (u *up) run(ctx context.Context) error {
	n := u.n
	for _, step := range []struct {
		name string
		do   func(context.Context) (note string, err error)
	}{
		{"keys", quiet(func(ctx context.Context) error { return makeCrypto(ctx, n) })},
		{"channel", func(ctx context.Context) (string, error) { return u.advice(), n.makeChannel(ctx, u.version) }},
		{"orderers and peers", u.join},
		{"leader", u.leader},
		{"consortium", quiet(n.found)},
		{"contract", u.contract},
		{"nodes", func(ctx context.Context) (string, error) {
			if u.want.Idle {
				return "", nil
			}
			return n.former(KindNode), n.startNodes(ctx)
		}},
	} {
		began := time.Now()
		note, err := step.do(ctx)
		if err != nil {
			err = fmt.Errorf("%s: %w", step.name, err)
		}
		u.progress(Step{Name: step.name, Took: time.Since(began), Note: note, Err: err})
		if err != nil {
			return err
		}
	}
	return nil
}

func quiet(f func(context.Context) error) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) { return "", f(ctx) }
}

// advice says what an operator should know of these Fabric programs.
func (u *up) advice() string {
	if u.want.Consensus == Raft && u.version.atLeast(2, 5, 0) && !u.version.atLeast(2, 5, 3) {
		return "Fabric " + u.version.String() + ": a restarted orderer may hang (fixed in 2.5.3); zl-network up and doctor recognise it"
	}
	return "Fabric " + u.version.String()
}

func (u *up) join(ctx context.Context) (string, error) {
	n := u.n
	if err := n.writeBuilder(); err != nil {
		return "", err
	}
	err := together([]func(context.Context) error{n.joinOrderers, n.joinPeers}, func(f func(context.Context) error) error { return f(ctx) })
	return n.former(KindOrderer, KindPeer), err
}

// former names the processes of some kinds that run the program from before, which `up` leaves alone.
func (n *Network) former(kinds ...Kind) string {
	var names []string
	for _, p := range n.Processes() {
		if slices.Contains(kinds, p.Kind) && p.Former() {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("still run the program from before: %s; restart one after another: `zl-network restart --dir %s %s`", strings.Join(names, ", "), n.Spec().Dir, names[0])
}

// leader waits until the orderers can order, and cures those that hang.
func (u *up) leader(ctx context.Context) (string, error) {
	note, err := u.n.cure(ctx)
	if err != nil {
		return note, err
	}
	if err := u.n.waitLeader(ctx); err != nil {
		return note, err
	}
	if l := u.n.Leader(ctx); l != nil && note == "" {
		note = l.Name
	}
	return note, nil
}

// contract brings the wanted version to the peers, and starts what is down of it.
func (u *up) contract(ctx context.Context) (string, error) {
	if u.want.Chaincode == "" {
		return "", nil
	}
	n := u.n
	err := n.deploy(ctx, Deployment{
		Name: Contract, Version: u.want.Version, Policy: u.want.Policy, Binary: u.want.Chaincode, Plain: u.want.Plain,
		Settings: map[string]string{"genesis_digest": n.Spec().GenesisDigest, "import_from": u.want.ImportFrom},
	}, func(s Step) {
		s.Name = "· " + s.Name // a part of this step
		u.progress(s)
	})
	if err != nil {
		return "", err
	}
	notes := []string{fmt.Sprintf("version %s, %d of %d organisations endorse", u.want.Version, u.want.Policy, u.want.Orgs)}
	// Other contracts that were deployed on this network.
	started := map[string]bool{Contract: true}
	for _, s := range n.Services() {
		if started[s.Contract] {
			continue
		}
		started[s.Contract] = true
		all := n.deployments(s.Contract)
		if err := n.Deploy(ctx, all[len(all)-1]); err != nil {
			return "", err
		}
	}
	if d, ok := n.deployment(Contract, u.want.Version); ok {
		if digest, err := digestOf(u.want.Chaincode); err == nil && digest != d.Digest {
			notes = append(notes, fmt.Sprintf("%s was built anew since: `zl-network upgrade --version V` rolls it out", filepath.Base(u.want.Chaincode)))
		}
	}
	return strings.Join(notes, "; "), nil
}
