package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/invite"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

func inviteCommand() *cobra.Command {
	var dir, node string
	var agencies []string
	var o app.InviteOptions
	var asJSON bool
	c := &cobra.Command{
		Use: "invite", Short: "invite another node of this organisation into the ledger", Args: cobra.NoArgs,
		Long: "invite prints one text that names the ledger, the new node and the agencies that it is to act for, and holds a token that\n" +
			"counts once. Give it like a password, and the fingerprint by another way. This node has to run when the other comes.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			o.Node = model.NodeID(node)
			for _, a := range agencies {
				id, err := model.ParseAgencyID(a)
				if err != nil {
					return fmt.Errorf("%w: --agency: %w", errUse, err)
				}
				o.Agencies = append(o.Agencies, id)
			}
			i, err := app.Invite(c.Context(), cfg, o)
			if err != nil {
				return err
			}
			text, err := i.Text()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"id": i.ID, "invitation": text, "fingerprint": i.Fingerprint(), "expires": i.Expires})
			}
			// The text alone goes to the standard output: it is put into a file, the fingerprint goes another way.
			fmt.Fprintln(c.OutOrStdout(), text)
			tell(c.ErrOrStderr(), "\n指纹    %s\n有效至  %s（北京时间）\n下一步，在新机器上：zhenglian join --dir DIR INVITATION --fingerprint %[1]s\n",
				"\nfingerprint  %s\nvalid until  %s (Beijing)\nnext, on the new machine:  zhenglian join --dir DIR INVITATION --fingerprint %[1]s\n", i.Fingerprint(), beijing(i.Expires))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the inviting node's folder")
	f.StringVar(&node, "node", "", "id of the new node, for example haidian")
	f.StringSliceVar(&agencies, "agency", nil, "registered agency that it is to act for; repeat for several")
	f.StringVar(&o.URL, "url", "", "https address under which the new node reaches this one (default: as it listens)")
	f.DurationVar(&o.Expires, "expires", 48*time.Hour, "how long the invitation is good")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir", "node", "agency")
	c.AddCommand(inviteListCommand(), inviteCertifyCommand())
	return c
}

func inviteListCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "list", Short: "list a node's invitations and what became of them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			all, err := app.Invitations(cfg)
			if err != nil {
				return err
			}
			t := table.NewWriter()
			t.AppendHeader(table.Row{say("编号", "id"), say("节点", "node"), say("有效至", "until"), say("状态", "state")})
			for _, r := range all {
				state := say("有效", "open")
				switch {
				case r.Certificate != "":
					state = say("已发证书", "certified")
				case r.Request != "":
					state = say("待发证书", "waits for a certificate")
				case time.Now().After(r.Expires):
					state = say("已过期", "expired")
				}
				t.AppendRow(table.Row{r.ID, r.Node, beijing(r.Expires), state})
			}
			fmt.Fprintln(c.OutOrStdout(), t.Render())
			for _, r := range all {
				if r.Request != "" && r.Certificate == "" {
					tell(c.OutOrStdout(), "\n%s，请交证书机构：\n%s", "\n%s, for the authority:\n%s", r.ID, r.Request)
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the inviting node's folder")
	require(c, "dir")
	return c
}

func inviteCertifyCommand() *cobra.Command {
	var dir, cert string
	c := &cobra.Command{
		Use: "certify ID", Short: "give an invited node the certificate that the organisation's authority made for its request", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			raw, err := os.ReadFile(cert)
			if err != nil {
				return err
			}
			return app.CertifyInvited(cfg, args[0], raw)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the inviting node's folder")
	c.Flags().StringVar(&cert, "cert", "", "PEM certificate")
	require(c, "dir", "cert")
	return c
}

var joinQuestions = []flagQuestion{{"fingerprint", "邀请的指纹（请电话向邀请单位核对）", "the invitation's fingerprint, as you were told it by telephone", notEmpty}}

func joinByInvitationCommand() *cobra.Command {
	var dir, fingerprint, alg string
	var o app.JoinOptions
	var asJSON bool
	c := &cobra.Command{
		Use: "join INVITATION", Short: "enter an existing ledger by an invitation", Args: cobra.ExactArgs(1),
		Long: "join makes the folder of the invited node: it draws the keys here, has the ledger key certified by the inviting node, and\n" +
			"holds all that it hears against the invitation. INVITATION is the text, a file, or - for the standard input. A call that\n" +
			"was cut off is simply called again. The fingerprint is the one that you were told by another way, by telephone for example.",
		PreRunE: func(c *cobra.Command, _ []string) error { return askMissing(c, false, joinQuestions) },
		RunE: func(c *cobra.Command, args []string) error {
			text := args[0]
			if text == "-" {
				raw, err := io.ReadAll(io.LimitReader(c.InOrStdin(), 1<<20))
				if err != nil {
					return err
				}
				text = string(raw)
			} else if raw, err := os.ReadFile(text); err == nil {
				text = string(raw)
			}
			i, err := invite.Parse(text)
			if err != nil {
				return err
			}
			if !strings.EqualFold(strings.ReplaceAll(fingerprint, "-", ""), strings.ReplaceAll(i.Fingerprint(), "-", "")) {
				return errorf("邀请书的指纹是 %s，与您得到的不符：途中被改动过", "the invitation's fingerprint is %s, not the one that you were given: it was changed on its way", i.Fingerprint())
			}
			if dir, err = filepath.Abs(dir); err != nil {
				return err
			}
			o.Alg = envelope.Alg(alg)
			j, err := app.JoinByInvitation(c.Context(), i, dir, o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(j)
			}
			w := c.OutOrStdout()
			tell(w, "节点    %s（%s），所属机关 %v\n文件夹  %s\n邀请书  %s\n\n", "node         %s of %s, for %v\nfolder       %s\ninvitation   %s\n\n", i.Node, i.Msp, i.Agencies, dir, i.Fingerprint())
			firstKeys(w, j.Keys)
			tell(w, "\n下一步：zhenglian doctor --dir %s\n        zhenglian serve --dir %s       （立即可以读取和核验）\n", "\nnext:  zhenglian doctor --dir %s\n       zhenglian serve --dir %s       (it reads and verifies at once)\n", dir, dir)
			tell(w, "在它可以写入之前，各成员须依次同意以下登记变更。逐一送至 %s；在那里由另一人放行（zhenglian drafts approve），\n各成员同意提案，然后执行（docs/ops/organisation-joins）：\n",
				"Before it may write, the members approve these changes of the registry, in this order. Send each at %s; there another\n"+
					"person lets it go (zhenglian drafts approve), the members approve the proposal, and it is enacted (docs/ops/organisation-joins):\n", i.URL)
			for _, p := range j.Proposals {
				fmt.Fprintf(w, "  curl -H \"Authorization: Bearer $ZHENGLIAN_KEY\" --data-binary @%s %s/v1/registry/proposals\n", p, i.URL)
			}
			if _, err := app.LoadConfig(dir); err != nil { // the API's certificate is still to come
				tell(w, "尚待办理：%s\n", "to do: %s\n", err)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the new node's folder; new or empty")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8801", "address of the API")
	f.StringVar(&o.Admin, "admin", "127.0.0.1:9801", "address of metrics and details, loopback only")
	f.StringVar(&o.Lang, "lang", "zh", "language of the public page, and of what this command prints: zh or en")
	f.StringVar(&alg, "alg", string(envelope.ES256), "algorithm of its signing keys: ES256, ES256K or SM2")
	f.StringVar(&fingerprint, "fingerprint", "", "the invitation's fingerprint as you were told it; required, another one is refused")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}
