package doctor

import (
	"context"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// Options change how the doctor works. The zero value is what the command uses.
type Options struct {
	Now     func() time.Time // this machine's clock; default time.Now
	Asking  time.Duration    // how long one question may take; default 4 s
	Between time.Duration    // from the first look at heights to the second; default 3 s
	// MinFree is how many bytes of a disk must be free; 0: 5 % of it, at least 1 GiB and at most 10 GiB.
	MinFree uint64
}

func (o Options) filled() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Asking == 0 {
		o.Asking = 4 * time.Second
	}
	if o.Between == 0 {
		o.Between = 3 * time.Second
	}
	return o
}

// Examine looks at a network and judges it. It comes to an end whatever the network does: after the longest
// question, the second look, or with ctx.
func Examine(ctx context.Context, n *fabric.Network, o Options) *Report {
	began := time.Now()
	r := Judge(See(ctx, n, o), o)
	r.Took = time.Since(began)
	r.Seconds = r.Took.Seconds()
	return r
}

// See looks at a network: at everything once, and at heights and leaders again some seconds later.
func See(ctx context.Context, n *fabric.Network, o Options) *Facts {
	o = o.filled()
	spec := n.Spec()
	l := &looker{net: n, o: o, facts: &Facts{
		Dir: spec.Dir, Contract: fabric.Contract, Fabric: n.FabricVersion(), BFT: spec.Consensus == fabric.BFT,
		Idle: spec.Idle, Now: o.Now(), Tick: spec.Tick,
		Between: max(o.Between, min(6*spec.Tick, longest)), // some heartbeats
	}}
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(whole))
	defer cancel()
	l.first(ctx)
	wait := func(long time.Duration) bool {
		select {
		case <-time.After(time.Until(began.Add(long))):
			l.facts.Between = long
			l.second(ctx)
			return true
		case <-ctx.Done():
			return false
		}
	}
	// A member of Raft that hears from no leader stands for election within twenty ticks: one that is silent is looked at
	// once more after that.
	if longer := min(22*spec.Tick, longest); wait(l.facts.Between) && silent(l.facts) && longer > l.facts.Between {
		wait(longer)
	}
	return l.facts
}

// longest is how late the last look may be for the whole to end within ten seconds; whole is when it is cut off.
const longest, whole = 6 * time.Second, 9500 * time.Millisecond

// silent tells whether an orderer of Raft stood still between the looks.
func silent(f *Facts) bool {
	for _, p := range f.Programs {
		if a, b := p.Looks[0], p.Looks[1]; p.Kind == fabric.KindOrderer && a.Known && b.Known && a.Beats >= 0 && a.Beats == b.Beats {
			return true
		}
	}
	return false
}

// looker fills facts. Each goroutine of a look writes to a Program, or a field of facts, of its own.
type looker struct {
	net   *fabric.Network
	o     Options
	facts *Facts

	mu    sync.Mutex
	again []func(context.Context) // what the second look asks; guarded by mu
}

// later has something asked at the second look.
func (l *looker) later(ask func(context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = append(l.again, ask)
}

func (l *looker) first(ctx context.Context) {
	asks := []func(context.Context){l.files, l.disks, l.configuration}
	add := func(p *fabric.Process, msp string, ask func(context.Context, *Program), addresses ...string) {
		out := &Program{Name: p.Name, Kind: p.Kind, Org: p.Org, MSP: msp, process: p}
		for _, a := range addresses {
			out.Sockets = append(out.Sockets, Socket{Address: a})
		}
		l.facts.Programs = append(l.facts.Programs, out)
		asks = append(asks, func(ctx context.Context) {
			l.process(p, out)
			if ask != nil && out.Pid != 0 {
				ask(ctx, out)
			}
		})
	}
	msps := map[string]string{}
	for _, o := range l.net.Orgs() {
		msps[o.ID] = o.MSP
	}
	for _, o := range l.net.Orderers() {
		add(o.Process, o.MSP(), func(ctx context.Context, p *Program) { l.orderer(ctx, o, p) }, o.Address, o.Admin, o.Operations)
	}
	for _, o := range l.net.Peers() {
		add(o.Process, o.MSP(), func(ctx context.Context, p *Program) { l.peer(ctx, o, p) }, o.Address, o.Operations, o.ChaincodeListen())
	}
	for _, s := range l.net.Services() {
		if s.Contract != l.facts.Contract || s.Ended {
			continue
		}
		add(s.Process, msps[s.Org], func(ctx context.Context, p *Program) { l.service(ctx, s, p) }, s.Address, s.Admin)
		l.facts.Programs[len(l.facts.Programs)-1].Service = &ServiceFacts{Contract: s.Contract, Version: s.Version, PackageID: s.PackageID}
	}
	for _, node := range l.net.Nodes() {
		// Asked at the last look: a node that has just been cured may be well by then.
		add(node.Process, msps[node.Org], func(_ context.Context, p *Program) {
			l.later(func(ctx context.Context) { l.node(ctx, node, p) })
		}, hostOf(node.URL), hostOf(node.AdminURL))
	}
	l.together(ctx, asks)
}

func (l *looker) second(ctx context.Context) { l.together(ctx, append(l.again, l.sockets)) }

// together asks all questions at once, each with the deadline.
func (l *looker) together(ctx context.Context, asks []func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Asking)
	defer cancel()
	var wg sync.WaitGroup
	for _, ask := range asks {
		wg.Go(func() { ask(ctx) })
	}
	wg.Wait()
}

// both asks functions at once; it returns when all did.
func both(fs ...func()) {
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	wg.Wait()
}

// sockets looks who holds the addresses of programs. It waits for the second look: of a program that was just killed
// the sockets stay a moment longer.
func (l *looker) sockets(context.Context) {
	holders := holders()
	for _, p := range l.facts.Programs {
		for i := range p.Sockets {
			s := &p.Sockets[i]
			if s.find(holders); s.Holder != 0 && s.Holder == p.process.Pid() {
				s.Holder = p.Pid // its own, also when it was started between the looks
				s.Open = p.Pid != 0
			}
		}
	}
}
