package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
)

func eraseCommand() *cobra.Command {
	var dir, reason string
	var asJSON bool
	c := &cobra.Command{
		Use: "erase RECORD", Short: "erase what a running node keeps of a licence's holder: code, name and salts", Args: cobra.ExactArgs(1),
		Long: "erase has the running node forget the confidential body of a licence, in all its versions: nobody finds its holder any more, and\n" +
			"nobody can tell what the commitments on the ledger are to, unless the holder shows it. There is no way back. The licence itself stays\n" +
			"what it is. Not reached: backups (erase again after a restore), drafts and uploads until their time is over, what others were sent.",
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			r, err := app.Erase(c.Context(), cfg, model.RecordID(args[0]), reason)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(r)
			}
			if r.Operations == 0 {
				tell(c.OutOrStdout(), "%s：本节点没有它的保密内容，未删除任何内容（公开的持证主体仍在账本上；请核对编号）\n",
					"%s: this node keeps nothing confidential of it, and nothing was erased (a public holder stands on the ledger; check the id)\n", r.Record)
				return nil
			}
			tell(c.OutOrStdout(), "%s：已删除 %d 个操作的保密内容，检索中不再有其持证主体\n保管库的旧文件最迟在节点下次启动时清除\n",
				"%s: the confidential bodies of %d operations are erased, and no search finds its holder\nold files of the vault are removed by the node's next start at the latest\n", r.Record, r.Operations)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().StringVar(&reason, "reason", "", "why, for the access log; no personal data")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir", "reason")
	return c
}
