package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
)

// keysCommand manages a node's API keys on its own machine. A running node takes changes up within seconds.
func keysCommand() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "a node's API keys: issue, list, rotate, revoke; and the agencies' signing keys"}
	c.AddCommand(keysIssueCommand(), keysListCommand(), keysRotateCommand(), keysRevokeCommand(), keysSigningCommand())
	return c
}

func openKeys(dir string) (*auth.Directory, error) {
	cfg, err := app.LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	return app.People(cfg)
}

func keysIssueCommand() *cobra.Command {
	var dir, user, agency, name string
	var roles []string
	var days int
	var asJSON bool
	c := &cobra.Command{
		Use: "issue", Short: "make a key and print it, once", Args: cobra.NoArgs,
		Long: "issue makes an API key: of a user (--user), whose agency and roles it then has at every moment, or of a system\n" +
			"that stands alone (--agency and --role).",
		RunE: func(c *cobra.Command, _ []string) error {
			g := auth.Grant{Name: name, User: user}
			if (user == "") == (agency == "" && len(roles) == 0) {
				return useError("--user 与 --agency 加 --role 二者给其一", "give either --user, or --agency and --role")
			}
			if user == "" {
				var err error
				if g.Agency, err = model.ParseAgencyID(agency); err != nil {
					return fmt.Errorf("%w: --agency: %w", errUse, err)
				}
			}
			for _, r := range roles {
				g.Roles = append(g.Roles, auth.Role(r))
			}
			if days < 1 || days > 3660 {
				return useError("--days：1 至 3660", "--days: 1 to 3660")
			}
			g.Expires = model.TimeOf(time.Now().AddDate(0, 0, days))
			k, err := openKeys(dir)
			if err != nil {
				return err
			}
			token, e, err := k.Issue(g)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"id": e.ID, "key": token, "expires": e.Expires})
			}
			tell(c.OutOrStdout(), "%s  %s  （有效至 %s；只显示这一次）\n", "%s  %s  (until %s; shown once)\n", e.ID, token, e.Expires.Date())
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the node's folder")
	f.StringVar(&user, "user", "", "the user whose key it is")
	f.StringVar(&agency, "agency", "", "the agency that the key acts for, with the tree below it")
	f.StringSliceVar(&roles, "role", nil, "role; repeat for several")
	f.StringVar(&name, "name", "", "what the key is for")
	f.IntVar(&days, "days", 365, "how long it lasts")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	for _, n := range []string{"dir", "name"} {
		_ = c.MarkFlagRequired(n)
	}
	return c
}

func keysListCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "list all keys (never the keys themselves)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := openKeys(dir)
			if err != nil {
				return err
			}
			type row struct {
				ID      string         `json:"id"`
				Name    string         `json:"name"`
				User    string         `json:"user,omitempty"`
				Agency  model.AgencyID `json:"agency,omitempty"`
				Roles   []auth.Role    `json:"roles,omitempty"`
				Expires model.Time     `json:"expires"`
				Revoked model.Time     `json:"revoked"`
			}
			rows := []row{}
			t := table.NewWriter()
			t.AppendHeader(table.Row{say("编号", "id"), say("名称", "name"), say("用户", "user"), say("机构", "agency"), say("角色", "roles"), say("有效至", "expires"), say("吊销", "revoked")})
			for _, e := range k.Keys() {
				rows = append(rows, row{e.ID, e.Name, e.User, e.Agency, e.Roles, e.Expires, e.Revoked})
				revoked := ""
				if !e.Revoked.IsZero() {
					revoked = string(e.Revoked.Date())
				}
				t.AppendRow(table.Row{e.ID, e.Name, e.User, e.Agency, joined(e.Roles), e.Expires.Date(), revoked})
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(rows)
			}
			fmt.Fprintln(c.OutOrStdout(), t.Render())
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	_ = c.MarkFlagRequired("dir")
	return c
}

func keysRevokeCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "revoke ID", Short: "end a key, for good", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := openKeys(dir)
			if err != nil {
				return err
			}
			return k.Revoke(args[0])
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	_ = c.MarkFlagRequired("dir")
	return c
}
