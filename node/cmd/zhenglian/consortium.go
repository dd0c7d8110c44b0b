package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/demo"
)

// consortiumCommand founds a consortium whose members each keep their secrets on their own machine.
func consortiumCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "consortium", Short: "found a consortium on Fabric: prepare, genesis, join",
		Long: "A consortium is founded in three steps. Every organisation runs prepare and gives its member.json to the others;\n" +
			"one puts them together with genesis, and everybody compares the digest; every organisation runs join.",
	}
	c.AddCommand(prepareCommand(), genesisCommand(), blockCommand(), joinCommand())
	return c
}

// emptyFolder refuses a folder that holds anything.
func emptyFolder(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return errorf("%s 不是空文件夹：从不覆盖，请用 --dir 另选", "%s is not empty: nothing is ever overwritten; choose another --dir", dir)
	}
	return nil
}

func prepareCommand() *cobra.Command {
	var dir, plan string
	var id app.IdentityFiles
	var asJSON bool
	c := &cobra.Command{
		Use: "prepare", Short: "make the folder of this organisation's node", Args: cobra.NoArgs,
		Long: "prepare draws signing keys, secrets and API keys (printed once) for the node and agencies of the plan, and writes\n" +
			"member.json, which holds no secret and goes to the other organisations. The certificate comes from the organisation's\n" +
			"authority; its common name must be the node's id.",
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := app.LoadPlan(plan)
			if err != nil {
				return err
			}
			if err := emptyFolder(dir); err != nil {
				return err
			}
			identity, err := id.Load(p.Msp)
			if err != nil {
				return err
			}
			_, keys, err := app.Prepare(dir, p, identity)
			if err != nil {
				return err
			}
			member := filepath.Join(dir, app.MemberFile)
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"dir": dir, "member": member, "keys": keys})
			}
			w := c.OutOrStdout()
			tell(w, "节点      %s\n成员文件  %s\n\n", "node    %s\nmember  %s\n\n", dir, member)
			firstKeys(w, keys)
			tell(w, "\n下一步：将 %s 交给其他组织，然后 zhenglian consortium genesis\n", "\nnext:  give %s to the other organisations, then zhenglian consortium genesis\n", member)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the node's folder; new or empty")
	f.StringVar(&plan, "plan", "", "JSON file: node, organisation, agencies (docs/ops)")
	f.StringVar(&id.Cert, "cert", "", "PEM certificate of the node's ledger identity")
	f.StringVar(&id.Key, "key", "", "its PKCS#8 PEM private key")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir", "plan", "cert", "key")
	return c
}

func genesisCommand() *cobra.Command {
	var out, types, channel string
	var files []string
	var asJSON bool
	c := &cobra.Command{
		Use: "genesis", Short: "put the members together into one genesis document", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var members []app.Member
			for _, f := range files {
				m, err := app.LoadMember(f)
				if err != nil {
					return err
				}
				members = append(members, m)
			}
			t, err := app.LoadTypes(types)
			if err != nil {
				return err
			}
			digest, err := app.Genesis(out, channel, time.Now(), members, t)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]string{"genesis": out, "genesis_digest": digest})
			}
			tell(c.OutOrStdout(), "%s\n摘要  %s\n\n下一步：各组织核对摘要，配置到各自的 zl-chaincode（genesis_digest），然后执行\n        zhenglian consortium join\n",
				"%s\ndigest  %s\n\nnext:  every organisation compares the digest, configures it at its zl-chaincode (genesis_digest) and runs\n"+
					"       zhenglian consortium join\n", out, digest)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&out, "out", app.GenesisFile, "file to write; it must not exist")
	f.StringArrayVar(&files, "member", nil, "member.json of an organisation; once for each")
	f.StringVar(&types, "types", "", "JSON file: the licence types")
	f.StringVar(&channel, "channel", "jjj", "the ledger's channel")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "member", "types")
	return c
}

func blockCommand() *cobra.Command {
	return &cobra.Command{
		Use: "block FILE", Short: "the hash of a channel's block 0, for join --genesis-block", Args: cobra.ExactArgs(1),
		Long: "block reads block 0 as configtxgen or a peer wrote it and prints the hash of its header. Every organisation computes it\n" +
			"from its own copy; the hashes must be equal.",
		RunE: func(c *cobra.Command, args []string) error {
			hash, err := app.BlockHash(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), hash)
			return nil
		},
	}
}

func joinCommand() *cobra.Command {
	var dir, genesis, digest string
	var gateways []string
	var n app.Network
	c := &cobra.Command{
		Use: "join", Short: "join this organisation's prepared node to the ledger", Args: cobra.NoArgs,
		Long: "join checks everything before it writes anything, and never overwrites: after a mistake it is simply called again. Once it\n" +
			"has succeeded, changes are made in zhenglian.yaml.",
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if n.Ledger.Gateways, err = parseGateways(gateways); err != nil {
				return err
			}
			if err := app.Join(dir, genesis, digest, n); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s\n\n", filepath.Join(dir, app.ConfigFile))
			if _, err := app.LoadConfig(dir); err != nil { // the API's certificate is still to come
				tell(c.OutOrStdout(), "尚待办理：%s\n", "to do: %s\n", err)
			}
			tell(c.OutOrStdout(), "下一步：zhenglian serve --dir %s\n", "next:  zhenglian serve --dir %s\n", dir)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the node's folder, as prepared")
	f.StringVar(&genesis, "genesis", "", "the genesis document")
	f.StringVar(&digest, "digest", "", "its digest, as agreed between the organisations")
	f.StringVar(&n.GenesisBlock, "genesis-block", "", "hash of the channel's block 0 header, 64 hexadecimal digits, as agreed")
	f.StringVar(&n.ImportFrom, "import-from", "", "the same of the ledger that this one took over, where it did")
	f.StringVar(&n.Channel, "channel", "jjj", "channel")
	f.StringVar(&n.Chaincode, "chaincode", "zhenglian", "contract name on the channel")
	f.StringArrayVar(&gateways, "gateway", nil, "HOST:PORT,TLS-ROOTS.pem[,SERVER-NAME] of a peer, one's own first; once for each")
	require(c, "dir", "genesis", "digest", "genesis-block", "gateway")
	return c
}

// parseGateways reads the flags of gateways.
func parseGateways(flags []string) (out []app.Gateway, err error) {
	for _, s := range flags {
		parts := strings.Split(s, ",")
		if len(parts) < 2 || len(parts) > 3 {
			return nil, useError("--gateway %q：写成 HOST:PORT,TLS-ROOTS.pem[,SERVER-NAME]", "--gateway %q: give HOST:PORT,TLS-ROOTS.pem[,SERVER-NAME]", s)
		}
		g := app.Gateway{Address: parts[0], TLSRoots: parts[1]}
		if len(parts) == 3 {
			g.ServerName = parts[2]
		}
		out = append(out, g)
	}
	return out, nil
}

func foundCommand() *cobra.Command {
	var dir, network string
	var asJSON bool
	c := &cobra.Command{
		Use: "found", Short: "prepare and join the nodes of a network on this machine, with sample agencies", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := app.LoadNetwork(network)
			if err != nil {
				return err
			}
			if err := emptyFolder(filepath.Join(dir, "nodes")); err != nil {
				return err
			}
			made, err := app.FoundConsortium(dir, n, demo.Plan(language(), time.Now()))
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(made)
			}
			tell(c.OutOrStdout(), "创世摘要  %s\n", "genesis digest  %s\n", made.GenesisDigest)
			for _, node := range made.Nodes {
				fmt.Fprintf(c.OutOrStdout(), "\n%s  %s  %s\n", node.Name, node.URL, node.Dir)
				for _, r := range auth.Roles {
					fmt.Fprintf(c.OutOrStdout(), "  %-15s %s\n", r, node.Keys[string(r)])
				}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "folder for genesis.json and nodes/")
	f.StringVar(&network, "network", "", "JSON file: channel, genesis block, nodes with identities and gateways")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir", "network")
	return c
}

func require(c *cobra.Command, names ...string) {
	for _, n := range names {
		_ = c.MarkFlagRequired(n)
	}
}
