package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
)

// Who takes part: the node of one organisation against a plain client of another, each through its own
// organisation's peer and for its own agency.
const (
	nodeOrg     = "beijing"
	nodeAgency  = model.AgencyID("bj-scjg")
	plainOrg    = "hebei"
	plainAgency = model.AgencyID("he-scjg")
)

// world is the network with both sides of every comparison.
type world struct {
	cfg    Config
	net    *fabric.Network
	node   *node
	plain  *plain
	serial atomic.Int64 // of the licences that the node was asked for
	issued []model.RecordID
	runsOf *issueRuns // what fabric.issue found, for fabric.bytes; nil before
	asked  []question
}

func open(ctx context.Context, cfg Config) (*world, error) {
	if cfg.Profile != "" {
		program, err := profiled(cfg)
		if err != nil {
			return nil, err
		}
		cfg.Spec.Program = program
	}
	if _, err := fabric.Open(cfg.Spec.Dir); err == nil {
		return nil, fmt.Errorf("there is a network in %s: its history would be measured too; give a new --dir, or `zl-network down --purge` it", cfg.Spec.Dir)
	}
	net, err := fabric.Up(ctx, cfg.Spec, cfg.Step)
	w := &world{cfg: cfg, net: net}
	if err == nil {
		w.node, err = newNode(net.Node(nodeOrg))
	}
	if err == nil {
		w.plain, err = newPlain(net)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *world) close() error {
	if w.plain != nil {
		w.plain.close()
	}
	if w.net == nil || w.cfg.Keep {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return w.net.Down(ctx, true)
}

// profiled writes a program that runs the node's with a CPU profile, a file for each process.
func profiled(cfg Config) (string, error) {
	dir, err := filepath.Abs(cfg.Profile)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	program, err := filepath.Abs(cfg.Spec.Program)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "zhenglian-profiled")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = serve ] || exec '%s' \"$@\"\nexec '%s' \"$@\" --cpu-profile '%s'/\"$(basename \"$3\")\"-$$.pprof\n", program, program, dir)
	return path, os.WriteFile(path, []byte(script), 0o755)
}

// setting describes the network for the notes.
func (w *world) setting() string {
	s := w.net.Spec()
	return fmt.Sprintf("Fabric %s, %d organisations, %d of them endorse, blocks at %s, %d transactions or %d KiB",
		w.net.FabricVersion(), s.Orgs, s.Policy, s.Batch.Timeout, s.Batch.Messages, s.Batch.Preferred>>10)
}

// Nodes that run during a measurement.
type nodesUp int

const (
	allNodes nodesUp = iota
	measuredNode
	noNodes
)

// nodes starts and stops nodes until those run that are to. One that was started has caught up when it is ready.
func (w *world) nodes(ctx context.Context, up nodesUp) error {
	if up == noNodes {
		w.node.wire.forget()
	}
	for _, n := range w.net.Nodes() {
		if up == noNodes || (up == measuredNode && n.Org != nodeOrg) {
			if err := n.Stop(ctx, 20*time.Second); err != nil {
				return err
			}
		}
	}
	for _, n := range w.net.Nodes() {
		if up == allNodes || (up == measuredNode && n.Org == nodeOrg) {
			if err := n.Start(); err != nil {
				return err
			}
		}
	}
	for _, n := range w.net.Nodes() {
		if up == allNodes || (up == measuredNode && n.Org == nodeOrg) {
			if err := n.WaitReady(ctx); err != nil {
				return err
			}
		}
	}
	return w.settled(ctx)
}

// settled waits until the network is at rest: all peers at one height that stays.
func (w *world) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	last, same := uint64(0), 0
	for {
		height, err := w.level(ctx)
		switch {
		case err != nil || height != last:
			same = 0
		default:
			if same++; same == 4 {
				return nil
			}
		}
		last = height
		select {
		case <-ctx.Done():
			return fmt.Errorf("the peers do not come to rest at one height: %w", errors.Join(ctx.Err(), err))
		case <-time.After(150 * time.Millisecond):
		}
	}
}

// level is the height of all peers, an error while they differ.
func (w *world) level(ctx context.Context) (height uint64, err error) {
	for i, p := range w.net.Peers() {
		h, err := p.Height(ctx)
		switch {
		case err != nil: // a busy machine answers late
			return 0, err
		case i > 0 && h != height:
			return 0, fmt.Errorf("%s is at %d, others at %d", p.Name, h, height)
		}
		height = h
	}
	return height, nil
}
