package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

func keysRotateCommand() *cobra.Command {
	var dir string
	var days int
	var asJSON bool
	c := &cobra.Command{
		Use: "rotate ID", Short: "issue a key's successor and print it, once; the old key goes on for a while", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if days < 0 || days > 90 {
				return useError("--overlap-days：0 至 90", "--overlap-days: 0 to 90")
			}
			k, err := openKeys(dir)
			if err != nil {
				return err
			}
			token, e, old, err := k.Rotate(args[0], time.Now().AddDate(0, 0, days).Add(time.Second))
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"id": e.ID, "key": token, "expires": e.Expires, "old": old.ID, "old_expires": old.Expires})
			}
			tell(c.OutOrStdout(), "%s  %s  （有效至 %s；只显示这一次）\n%s 继续有效至 %s\n", "%s  %s  (until %s; shown once)\n%s goes on until %s\n", e.ID, token, e.Expires.Date(), old.ID, moment(old.Expires))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().IntVar(&days, "overlap-days", 7, "how long the old key goes on, 0 to 90; it never lasts longer than it would have")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}

// keysSigningCommand changes an agency's signing key over the node's API, like any operation.
func keysSigningCommand() *cobra.Command {
	o := &client{}
	var alg, retire string
	c := &cobra.Command{
		Use: "signing AGENCY", Short: "change an agency's signing key (签章): the node draws the new one and signs it with the old", Args: cobra.ExactArgs(1),
		Long: "signing retires an agency's signing key on the ledger and lists a new one that the node has drawn. What was signed before\n" +
			"stays good. Where the two-person rule asks for it, the change waits for a second person. Take a backup afterwards: the\n" +
			"new key is in no earlier one. Identity and TLS are renewed by replacing their files (docs/ops/certificates).",
		RunE: func(c *cobra.Command, args []string) error {
			agency, err := model.ParseAgencyID(args[0])
			if err != nil {
				return fmt.Errorf("%w: %w", errUse, err)
			}
			api, err := o.open("security-admin")
			if err != nil {
				return err
			}
			out, err := api.RotateKey(c.Context(), agency, sdk.NewKey{Alg: alg, Retire: retire}, sdk.Write{})
			if told, err := o.held(c.OutOrStdout(), err); told {
				return err
			}
			if err != nil {
				return err
			}
			if o.json {
				return json.NewEncoder(c.OutOrStdout()).Encode(out)
			}
			tell(c.OutOrStdout(), "%s  %s 版本 %d  操作 %s\n", "%s  %s version %d  operation %s\n", out.Status, out.Record, out.Version, out.Operation)
			return nil
		},
	}
	o.flags(c)
	c.Flags().StringVar(&alg, "alg", "", "ES256, ES256K or SM2; the old key's by default")
	c.Flags().StringVar(&retire, "retire", "", "id of the key that retires; the newest by default")
	return c
}
