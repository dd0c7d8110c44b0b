package fabric

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Down ends the network's processes: nodes first, then the contract, peers and orderers, each gracefully and after
// ten seconds by force. With purge its folder goes too, keys and ledgers with it.
func (n *Network) Down(ctx context.Context, purge bool) error {
	unlock, err := lock(n.Spec().Dir)
	if err != nil {
		return err
	}
	defer unlock()
	all := n.Processes()
	slices.Reverse(all)
	for _, kind := range []Kind{KindNode, KindChaincode, KindPeer, KindOrderer} {
		var of []*Process
		for _, p := range all {
			if p.Kind == kind {
				of = append(of, p)
			}
		}
		err = errors.Join(err, together(of, func(p *Process) error { return p.Stop(ctx, stopping) }))
	}
	if err != nil || !purge {
		return err
	}
	return os.RemoveAll(n.Spec().Dir)
}

// Purge removes a network whose folder cannot be read any more: it ends every process that the folder names and
// deletes the folder. It refuses a folder that is no network's.
func Purge(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return ErrNoNetwork
		}
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	files, err := filepath.Glob(filepath.Join(dir, "run", "*.pid"))
	if err != nil {
		return err
	}
	if err := together(files, func(f string) error {
		p := &Process{Name: strings.TrimSuffix(filepath.Base(f), ".pid"), pid: f}
		return p.Stop(ctx, stopping)
	}); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
