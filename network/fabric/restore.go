package fabric

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hyperledger/fabric-admin-sdk/pkg/channel"
	"github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	"github.com/hyperledger/fabric-admin-sdk/pkg/snapshot"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
)

// Snapshot has a peer write down its state as of its last block and returns the folder.
func (p *Peer) Snapshot(ctx context.Context) (string, error) {
	height, err := p.Height(ctx)
	if err != nil {
		return "", err
	}
	done := func() string {
		found, _ := filepath.Glob(filepath.Join(p.dir, "snapshots", "completed", Channel, "*")) // a fixed pattern
		at, best := "", uint64(0)
		for _, dir := range found {
			if n, err := strconv.ParseUint(filepath.Base(dir), 10, 64); err == nil && n+1 >= max(height, best) {
				at, best = dir, n
			}
		}
		return at
	}
	if dir := done(); dir != "" {
		return dir, nil // of this very height: asked again, the peer would refuse
	}
	err = p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		return snapshot.NewPeer(conn, id).SubmitRequest(ctx, Channel, 0)
	})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	var dir string
	return dir, poll(ctx, 100*time.Millisecond, func() error {
		if dir = done(); dir == "" {
			return fmt.Errorf("%s has not finished its snapshot", p.Name)
		}
		return nil
	})
}

// Restore gives a peer a new ledger, begun from a snapshot of another peer instead of block 0. Its identity, its
// packages' services and its address stay; its blocks before the snapshot are gone from it and stand with the others.
//
// Whatever interrupts it, the old ledger or none is there, and both Restore and Up make the peer whole again.
func (n *Network) Restore(ctx context.Context, org, from string, progress func(Step)) error {
	to, source := n.Peer(org), n.Peer(from)
	if to == nil || source == nil || to == source {
		return errors.New("name the organisation of the peer to restore and another one's to take the snapshot from")
	}
	unlock, err := lock(n.Spec().Dir)
	if err != nil {
		return err
	}
	defer unlock()
	var dir string
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"snapshot", func() (err error) { dir, err = source.Snapshot(ctx); return err }},
		{"stop", func() error { return to.Stop(ctx, stopping) }},
		{"clear", func() error { return os.RemoveAll(filepath.Join(to.dir, "data")) }},
		{"start", func() error {
			if err := n.configurePeer(to); err != nil {
				return err
			}
			if err := to.Start(); err != nil {
				return err
			}
			return to.waitFor(ctx, "does not answer", func() error {
				// Health is served before the peer's own services.
				return to.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
					_, err := channel.ListChannelOnPeer(ctx, conn, id)
					return err
				})
			})
		}},
		{"join", func() error { return to.joinBySnapshot(ctx, dir) }},
		{"contract", func() error {
			for _, d := range n.deployments(Contract) {
				if err := n.install(ctx, to, d); err != nil {
					return err
				}
			}
			return to.waitFor(ctx, "does not run the contract", func() error { return to.Reaches(ctx, Contract) })
		}},
	} {
		began := time.Now()
		err := step.do()
		if progress != nil {
			progress(Step{Name: step.name, Took: time.Since(began), Err: err})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// joinBySnapshot brings the peer into the channel from a snapshot's folder, which it must be able to read.
func (p *Peer) joinBySnapshot(ctx context.Context, dir string) error {
	return p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		proposal, err := proposalIn("", id, "cscc", "JoinChainBySnapshot", []byte(dir))
		if err != nil {
			return err
		}
		r, err := peer.NewEndorserClient(conn).ProcessProposal(ctx, proposal)
		if err != nil {
			return err
		}
		if r.GetResponse().GetStatus() != 200 {
			return errors.New(r.GetResponse().GetMessage())
		}
		// It answers at once and works on; there is a height when it is done.
		return p.waitFor(ctx, "does not join by the snapshot", func() error {
			_, err := p.Height(ctx)
			return err
		})
	})
}
