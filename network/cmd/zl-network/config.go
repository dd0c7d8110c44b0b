package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/zhenglian/zhenglian/network/chanconfig"
	"github.com/zhenglian/zhenglian/network/fabric"
)

// configFlags say whose configuration changes: a network of a folder, or, with files in and out, any channel.
type configFlags struct {
	dir, block, out string
}

func configCommand() *cobra.Command {
	f := &configFlags{}
	c := &cobra.Command{
		Use: "config", Short: "change the channel's configuration: organisations, orderers, authorities",
		Long: "With --dir the change is made on a network of this machine: signed by all its administrators and ordered.\n" +
			"With --block and --out it is made on a file of `peer channel fetch config` and written to another, which every\n" +
			"organisation's administrator signs with `peer channel signconfigtx -f` and one submits with `peer channel update -f`.\n" +
			"With --dir an orderer may be called by its name, orderer-1, instead of HOST:PORT.",
	}
	p := c.PersistentFlags()
	p.StringVar(&f.dir, "dir", defaultDir, "the network's folder")
	p.StringVar(&f.block, "block", "", "file with the channel's newest configuration block, instead of --dir")
	p.StringVar(&f.out, "out", "", "write the unsigned update to this file instead of ordering it")
	c.AddCommand(f.show(), f.addOrg(), f.setMSP(), f.addOrderer(),
		f.simple("remove-org MSP", "take an organisation out", 1, func(c *chanconfig.Config, args []string) error { return c.RemoveOrg(args[0]) }),
		f.simple("remove-orderer HOST:PORT", "take an orderer out, with all the others running", 1, func(c *chanconfig.Config, args []string) error {
			return c.RemoveOrderer(args[0])
		}),
		f.simple("set-orderer-cert HOST:PORT FILE", "tell the other orderers of an orderer's new TLS certificate", 2, func(c *chanconfig.Config, args []string) error {
			raw, err := os.ReadFile(args[1])
			if err != nil {
				return err
			}
			return c.SetOrdererCert(args[0], raw)
		}),
		f.simple("set-capability PART CAPABILITY", "raise a capability of channel, orderer or application", 2, func(c *chanconfig.Config, args []string) error {
			return c.SetCapability(args[0], args[1])
		}))
	return c
}

// load reads the configuration; the network is nil where it comes from a file.
func (f *configFlags) load(ctx context.Context) (*chanconfig.Config, *fabric.Network, uint64, error) {
	if f.block != "" {
		if f.out == "" {
			return nil, nil, 0, errors.New("--block needs --out: where the update is written")
		}
		file, err := os.Open(f.block)
		if err != nil {
			return nil, nil, 0, err
		}
		defer file.Close()
		raw, err := io.ReadAll(io.LimitReader(file, chanconfig.MaxBlock+1))
		if err != nil {
			return nil, nil, 0, err
		}
		c, err := chanconfig.Parse(raw)
		return c, nil, 0, err
	}
	n, err := fabric.Open(f.dir)
	if err != nil {
		return nil, nil, 0, err
	}
	b, err := newest(ctx, n)
	if err != nil {
		return nil, nil, 0, err
	}
	c, err := chanconfig.Of(b)
	return c, n, b.GetHeader().GetNumber(), err
}

// newest asks all peers for the configuration block and takes the last: that of an organisation that left stands still.
func newest(ctx context.Context, n *fabric.Network) (*common.Block, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	peers := n.Peers()
	blocks, errs := make([]*common.Block, len(peers)), make([]error, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		if errs[i] = errors.New(p.Name + " does not run"); p.Alive() {
			wg.Go(func() { blocks[i], errs[i] = p.ConfigBlock(ctx) })
		}
	}
	wg.Wait()
	var last *common.Block
	for _, b := range blocks {
		if b != nil && (last == nil || b.GetHeader().GetNumber() > last.GetHeader().GetNumber()) {
			last = b
		}
	}
	if last == nil {
		return nil, fmt.Errorf("no peer shows the channel's configuration: `zl-network doctor` says why (%w)", errors.Join(errs...))
	}
	return last, nil
}

func (f *configFlags) show() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "the channel's organisations, orderers, capabilities and authorities", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.block != "" && f.out == "" {
				f.out = os.DevNull
			}
			config, _, _, err := f.load(c.Context())
			if err != nil {
				return err
			}
			s, err := config.Summary()
			if err != nil {
				return err
			}
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(s)
		},
	}
}

func (f *configFlags) simple(use, short string, args int, change func(*chanconfig.Config, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(args),
		RunE: func(c *cobra.Command, args []string) error {
			return f.change(c, args, change)
		},
	}
}

func (f *configFlags) addOrg() *cobra.Command {
	var dir string
	var anchors []string
	c := &cobra.Command{
		Use: "add-org MSP", Short: "take an organisation in", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			m, err := chanconfig.ReadMSP(args[0], dir)
			if err != nil {
				return err
			}
			return f.change(c, args, func(config *chanconfig.Config, _ []string) error {
				return config.AddOrg(chanconfig.Org{MSP: m, Anchors: anchors})
			})
		},
	}
	c.Flags().StringVar(&dir, "msp-dir", "", "folder of its membership definition: certificates only")
	c.Flags().StringArrayVar(&anchors, "anchor", nil, "HOST:PORT of a peer that the others find it by; once for each")
	_ = c.MarkFlagRequired("msp-dir")
	return c
}

func (f *configFlags) setMSP() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "set-msp MSP", Short: "exchange an organisation's authorities and revocation lists", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			m, err := chanconfig.ReadMSP(args[0], dir)
			if err != nil {
				return err
			}
			return f.change(c, args, func(config *chanconfig.Config, _ []string) error { return config.SetMSP(m) })
		},
	}
	c.Flags().StringVar(&dir, "msp-dir", "", "folder of its membership definition: certificates only")
	_ = c.MarkFlagRequired("msp-dir")
	return c
}

func (f *configFlags) addOrderer() *cobra.Command {
	var cert, identity string
	c := &cobra.Command{
		Use: "add-orderer MSP HOST:PORT", Short: "take an orderer in, with all the others running", Args: cobra.ExactArgs(2),
		Long: "add-orderer takes an orderer of a member in. It counts for the quorum from then on: have it join without delay, with\n" +
			"`osnadmin channel join` and the configuration block that this update made.",
		RunE: func(c *cobra.Command, args []string) error {
			o := chanconfig.Orderer{MSP: args[0]}
			var err error
			if o.TLS, err = os.ReadFile(cert); err != nil {
				return err
			}
			if identity != "" {
				if o.Identity, err = os.ReadFile(identity); err != nil {
					return err
				}
			}
			return f.change(c, args, func(config *chanconfig.Config, args []string) error {
				o.Address = args[1]
				return config.AddOrderer(o)
			})
		},
	}
	c.Flags().StringVar(&cert, "cert", "", "file of its TLS certificate")
	c.Flags().StringVar(&identity, "identity", "", "BFT: file of the certificate that it signs blocks with")
	_ = c.MarkFlagRequired("cert")
	return c
}

// named puts addresses in the place of the names of a network's orderers.
func named(n *fabric.Network, args []string) []string {
	out := slices.Clone(args)
	if n == nil {
		return out
	}
	for i, arg := range out {
		for _, o := range n.Orderers() {
			if o.Name == arg {
				out[i] = o.Address
			}
		}
	}
	return out
}

// change makes a change and writes or orders it.
func (f *configFlags) change(c *cobra.Command, args []string, change func(*chanconfig.Config, []string) error) error {
	config, n, at, err := f.load(c.Context())
	if err != nil {
		return err
	}
	before, err := config.Summary()
	if err != nil {
		return err
	}
	if err := change(config, named(n, args)); err != nil {
		return err
	}
	u, err := config.Update()
	if errors.Is(err, chanconfig.ErrUnchanged) {
		fmt.Fprintln(c.OutOrStdout(), err)
		return nil
	}
	if err != nil {
		return err
	}
	if f.out != "" {
		raw, err := u.Marshal()
		if err != nil {
			return err
		}
		if err := os.WriteFile(f.out, raw, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s\n\nnext:  each organisation's administrator: peer channel signconfigtx -f %s\n       then one of them:                 peer channel update -f %s -c %s -o ORDERER:PORT --tls --cafile ORDERER-ROOTS\n",
			f.out, f.out, f.out, config.Channel)
		return nil
	}
	if err := order(c.Context(), n, before, u); err != nil {
		return err
	}
	number, err := arrived(c.Context(), n, at)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "the channel's configuration is that of block %d now; signed by %s\n", number, strings.Join(u.Signers(), ", "))
	return nil
}

// order signs an update as the administrator of every organisation that is a member and has it ordered: what left the
// channel still runs, perhaps, and knows nothing of it any more.
func order(ctx context.Context, n *fabric.Network, before *chanconfig.Summary, u *chanconfig.Update) error {
	var id identity.SigningIdentity
	for _, o := range n.Orgs() {
		if !slices.ContainsFunc(before.Organisations, func(m chanconfig.Member) bool { return m.MSP == o.MSP }) {
			continue
		}
		signer, err := o.Admin().Signer()
		if err != nil {
			return err
		}
		if err := u.Sign(signer); err != nil {
			return err
		}
		if id == nil {
			id = signer
		}
	}
	if id == nil {
		return errors.New("none of this network's organisations is a member any more")
	}
	var last error
	for _, o := range n.Orderers() {
		if !o.Alive() || !slices.ContainsFunc(before.Orderers, func(p chanconfig.OrdererPlace) bool { return p.Address == o.Address }) {
			continue
		}
		last = func() error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			roots, err := credentials.NewClientTLSFromFile(o.TLSRoots(), o.ServerName())
			if err != nil {
				return err
			}
			conn, err := grpc.NewClient("passthrough:///"+o.Address, grpc.WithTransportCredentials(roots))
			if err != nil {
				return err
			}
			defer conn.Close()
			return u.Submit(ctx, conn, id)
		}()
		var refused *chanconfig.RefusedError
		if last == nil || errors.As(last, &refused) && refused.Status == common.Status_BAD_REQUEST {
			return last
		}
	}
	if last == nil {
		last = errors.New("no orderer runs: `zl-network up` starts them")
	}
	return last
}

// arrived waits until the peers have a newer configuration than that of a block.
func arrived(ctx context.Context, n *fabric.Network, before uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := newest(ctx, n)
		if err == nil && b.GetHeader().GetNumber() > before {
			return b.GetHeader().GetNumber(), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("the update was ordered, but %s shows no newer configuration yet: `zl-network doctor`", filepath.Base(n.Spec().Dir))
		case <-tick.C:
		}
	}
}
