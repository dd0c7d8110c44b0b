package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

// keysCommand manages a node's API keys, over its API or on its own machine, and signing keys.
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
	var o people
	var user, agency, name string
	var roles []string
	var days int
	c := &cobra.Command{
		Use: "issue", Short: "make a key and print it, once", Args: cobra.NoArgs,
		Long: "issue makes an API key: of a user (--user), whose agency and roles it then has at every moment, or of a system\n" +
			"that stands alone (--agency and --role). Over the API another security administrator approves it first, and each of\n" +
			"the two then draws a half of it with drafts key.",
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
			if days < 1 || days > 3650 {
				return useError("--days：1 至 3650", "--days: 1 to 3650")
			}
			g.Expires = model.TimeOf(time.Now().AddDate(0, 0, days))
			d, err := o.directory(c.Context())
			if err != nil {
				return err
			}
			made, err := d.apply(auth.Change{Action: auth.IssueKey, Key: &g})
			if told, err := o.held(c.OutOrStdout(), err); told || err != nil {
				return err
			}
			return o.newKey(c.OutOrStdout(), made)
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&user, "user", "", "the user whose key it is")
	f.StringVar(&agency, "agency", "", "the agency that the key acts for, with the tree below it")
	f.StringSliceVar(&roles, "role", nil, "role; repeat for several")
	f.StringVar(&name, "name", "", "what the key is for")
	f.IntVar(&days, "days", 365, "how long it lasts")
	require(c, "name")
	return c
}

// newKey prints a whole key that was made just now, which no other place will.
func (o *client) newKey(w io.Writer, made auth.Applied) error {
	if o.json {
		return json.NewEncoder(w).Encode(map[string]any{"id": made.Key.ID, "key": made.Token, "expires": made.Key.Expires})
	}
	tell(w, "%s  %s  （有效至 %s；只显示这一次）\n", "%s  %s  (until %s; shown once)\n", made.Key.ID, made.Token, made.Key.Expires.Date())
	return nil
}

// newHalf prints the half of a key that was drawn just now, and what is to be done with it.
func (o *client) newHalf(w io.Writer, made *sdk.PeopleChanged) error {
	if o.json {
		return json.NewEncoder(w).Encode(map[string]any{"id": made.Key.ID, "half": made.Half, "text": made.Token, "expires": made.Key.Expires})
	}
	if made.Half == 1 {
		tell(w, "%s  %s  （密钥的前一半，只显示一次）\n后一半由复核人领取。", "%s  %s  (the first half of the key, shown once)\nWho approved draws the second. ", made.Key.ID, made.Token)
	} else {
		tell(w, "%s  %s  （密钥的后一半，只显示一次）\n前一半由申请人领取。", "%s  %s  (the second half of the key, shown once)\nWho asked for the key draws the first. ", made.Key.ID, made.Token)
	}
	tell(w, "两人各自把自己的一半交给密钥的使用人，不要给对方；使用人把 zlk_2_… 紧接在 zlk_1_… 之后写成一行，中间不留空格，即为密钥，有效至 %s。\n",
		"Each hands the own half to who uses the key, and not to the other; that person writes zlk_2_… directly after zlk_1_…, in one line without a space: that is the key, until %s.\n", made.Key.Expires.Date())
	return nil
}

// drawKeyCommand goes on with `keys issue` over the API.
func drawKeyCommand() *cobra.Command {
	var o client
	var role string
	c := &cobra.Command{
		Use: "key ID", Short: "draw one's half of the API key that an approved draft grants, and print it, once", Args: cobra.ExactArgs(1),
		Long: "key draws half of an API key. Who asked for the key draws the first half (zlk_1_…), who approved it the second (zlk_2_…), in any\n" +
			"order, each once. Neither sees the other's. Each hands the own half to who is to use the key, and that person writes the second\n" +
			"directly after the first, in one line without a space, where a key is asked for (ZHENGLIAN_KEY, --key-file). The key works once both are drawn;\n" +
			"until then drafts withdraw takes it back.",
		RunE: func(c *cobra.Command, args []string) error {
			node, err := o.open(role)
			if err != nil {
				return err
			}
			made, err := node.DrawAPIKey(c.Context(), args[0])
			if err != nil {
				return err
			}
			return o.newHalf(c.OutOrStdout(), &made)
		},
	}
	o.flags(c)
	asRole(c, &role)
	return c
}

func keysListCommand() *cobra.Command {
	var o people
	c := &cobra.Command{
		Use: "list", Short: "list all keys (never the keys themselves)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := o.directory(c.Context())
			if err != nil {
				return err
			}
			keys, err := d.keys()
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
			for _, e := range keys {
				rows = append(rows, row{e.ID, e.Name, e.User, e.Agency, e.Roles, e.Expires, e.Revoked})
				revoked := ""
				if !e.Revoked.IsZero() {
					revoked = string(e.Revoked.Date())
				}
				t.AppendRow(table.Row{e.ID, e.Name, e.User, e.Agency, joined(e.Roles), e.Expires.Date(), revoked})
			}
			if o.json {
				return json.NewEncoder(c.OutOrStdout()).Encode(rows)
			}
			fmt.Fprintln(c.OutOrStdout(), t.Render())
			return nil
		},
	}
	o.flags(c)
	return c
}

func keysRevokeCommand() *cobra.Command {
	var o people
	c := &cobra.Command{
		Use: "revoke ID", Short: "end a key, for good", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := o.directory(c.Context())
			if err != nil {
				return err
			}
			_, err = d.apply(auth.Change{Action: auth.RevokeKey, ID: args[0]})
			_, err = o.held(c.OutOrStdout(), err)
			return err
		},
	}
	o.flags(c)
	return c
}
