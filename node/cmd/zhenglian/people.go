package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
)

// peopleCommand manages a node's users: over its API, or on its own machine, where a running node takes changes up within a
// second.
func peopleCommand() *cobra.Command {
	c := &cobra.Command{Use: "people", Short: "who may sign in at a node: add, list, show, change, disable, enable"}
	c.AddCommand(peopleAddCommand(), peopleListCommand(), peopleShowCommand(), peopleChangeCommand(),
		peopleSwitchCommand("disable", "end a user's rights at once; keys, sessions and certificates with them", auth.DisableUser),
		peopleSwitchCommand("enable", "give a disabled user the rights back", auth.EnableUser))
	return c
}

// people is what the commands have: the node's folder, and how to print.
type people struct {
	client
	dir string
}

func (o *people) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.dir, "dir", "", "instead, on the node's machine: the node's folder; changes need no second person then")
	o.client.flags(c)
}

// user finds a user.
func (o *people) user(d directory, id string) (*auth.User, error) {
	all, err := d.people()
	for i := range all {
		if all[i].ID == id {
			return &all[i], nil
		}
	}
	if err == nil {
		err = model.E(model.CodeNotFound, "id")
	}
	return nil, err
}

// userFlags are the parts of a user that a command gives.
type userFlags struct {
	name, agency, party                 string
	roles, subjects, pins, certificates []string
}

func (u *userFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&u.name, "name", "", "what the person or system is called; it stays at this node")
	f.StringVar(&u.agency, "agency", "", "the agency that the user acts for, with the tree below it")
	f.StringVar(&u.party, "party", "", "instead: the unified social credit code of a party that this node hosts")
	f.StringSliceVar(&u.roles, "role", nil, "role; repeat for several")
	f.StringArrayVar(&u.subjects, "subject", nil, "who the user is at an identity provider, ISSUER#SUBJECT; repeat for several")
	f.StringSliceVar(&u.certificates, "certificate", nil, "PEM file of a client certificate that signs the user in; repeat for several")
	f.StringSliceVar(&u.pins, "pin", nil, "SHA-256 of a client certificate's public key (SubjectPublicKeyInfo), in hexadecimal")
}

// put replaces the parts of a user that were given on the command line.
func (u *userFlags) put(c *cobra.Command, s *auth.UserSpec) error {
	given := c.Flags().Changed
	if given("name") {
		s.Name = u.name
	}
	if given("agency") {
		s.Agency, s.Party = model.AgencyID(u.agency), ""
	}
	if given("party") {
		s.Party = model.USCC(u.party)
		if !given("agency") {
			s.Agency = ""
		}
	}
	if given("role") {
		s.Roles = nil
		for _, r := range u.roles {
			s.Roles = append(s.Roles, auth.Role(r))
		}
	}
	if given("subject") {
		s.Subjects = nil
		for _, v := range u.subjects {
			if v == "" {
				continue // --subject '' takes them away
			}
			issuer, subject, ok := strings.Cut(v, "#")
			if !ok {
				return useError("--subject：写成 ISSUER#SUBJECT，不能是 %q", "--subject: ISSUER#SUBJECT, not %q", v)
			}
			s.Subjects = append(s.Subjects, auth.Subject{Issuer: issuer, Subject: subject})
		}
	}
	if given("pin") || given("certificate") {
		s.Pins = nil
		for _, v := range u.pins {
			if v == "" {
				continue
			}
			var pin model.Digest
			if err := pin.UnmarshalText([]byte(v)); err != nil {
				return useError("--pin：64 位十六进制数字，不能是 %q", "--pin: 64 hexadecimal digits, not %q", v)
			}
			s.Pins = append(s.Pins, pin)
		}
		for _, file := range u.certificates {
			pin, err := pinOf(file)
			if err != nil {
				return err
			}
			s.Pins = append(s.Pins, pin)
		}
	}
	return nil
}

// pinOf is the digest of a certificate's public key: a renewed certificate of the same key keeps it.
func pinOf(file string) (model.Digest, error) {
	raw, err := readBounded(file, 64<<10)
	if err != nil {
		return model.Digest{}, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return model.Digest{}, errorf("%s：不是 PEM 格式的证书", "%s: no certificate in PEM", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return model.Digest{}, fmt.Errorf("%s: %w", file, err)
	}
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo), nil
}

func peopleAddCommand() *cobra.Command {
	var o people
	var u userFlags
	c := &cobra.Command{
		Use: "add", Short: "add a user", Args: cobra.NoArgs,
		Example: "  zhenglian people add --dir node --name 王芳 --agency bj-scjg --role drafter --subject https://id.example.gov.cn#wangfang",
		RunE: func(c *cobra.Command, _ []string) error {
			var spec auth.UserSpec
			if err := u.put(c, &spec); err != nil {
				return err
			}
			return o.apply(c, auth.Change{Action: auth.AddUser, User: &spec})
		},
	}
	o.flags(c)
	u.add(c)
	for _, n := range []string{"name", "role"} {
		_ = c.MarkFlagRequired(n)
	}
	return c
}

func peopleChangeCommand() *cobra.Command {
	var o people
	var u userFlags
	var version int
	c := &cobra.Command{
		Use: "change ID", Short: "change the given parts of a user", Args: cobra.ExactArgs(1),
		Long: "change replaces what is given: --role drafter --role verifier leaves the user these two roles and no others.\n" +
			"--subject '' and --pin '' take all of them away.",
		RunE: func(c *cobra.Command, args []string) error {
			d, err := o.directory(c.Context())
			if err != nil {
				return err
			}
			was, err := o.user(d, args[0])
			if err != nil {
				return err
			}
			spec := was.Spec()
			if err := u.put(c, &spec); err != nil {
				return err
			}
			if version == 0 {
				version = was.Version // what stands between reading and writing is not overwritten
			}
			return o.apply(c, auth.Change{Action: auth.ChangeUser, ID: args[0], Version: version, User: &spec})
		},
	}
	o.flags(c)
	u.add(c)
	c.Flags().IntVar(&version, "version", 0, "change only this version")
	return c
}

func peopleSwitchCommand(use, short, action string) *cobra.Command {
	var o people
	c := &cobra.Command{
		Use: use + " ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.apply(c, auth.Change{Action: action, ID: args[0]})
		},
	}
	o.flags(c)
	return c
}

// apply makes a change and shows what the user is now.
func (o *people) apply(c *cobra.Command, change auth.Change) error {
	d, err := o.directory(c.Context())
	if err != nil {
		return err
	}
	made, err := d.apply(change)
	if told, err := o.held(c.OutOrStdout(), err); told || err != nil {
		return err
	}
	return o.show(c.OutOrStdout(), made.User)
}

func peopleShowCommand() *cobra.Command {
	var o people
	c := &cobra.Command{
		Use: "show ID", Short: "a user, with what signs him in", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := o.directory(c.Context())
			if err != nil {
				return err
			}
			u, err := o.user(d, args[0])
			if err != nil {
				return err
			}
			return o.show(c.OutOrStdout(), u)
		},
	}
	o.flags(c)
	return c
}

func (o *people) show(w io.Writer, u *auth.User) error {
	if o.json {
		return printJSON(w, u)
	}
	rows := [][2]string{
		{o.say("编号", "id"), u.ID}, {o.say("姓名", "name"), u.Name}, {o.say("机构", "agency"), string(u.Agency)},
		{o.say("托管主体", "party"), string(u.Party)}, {o.say("角色", "roles"), o.roleNames(u.Roles)},
	}
	for _, s := range u.Subjects {
		rows = append(rows, [2]string{o.say("统一认证", "subject"), s.Issuer + "#" + s.Subject})
	}
	for _, p := range u.Pins {
		rows = append(rows, [2]string{o.say("证书公钥", "certificate"), p.String()})
	}
	rows = append(rows, [2]string{o.say("建立", "created"), moment(u.Created)}, [2]string{o.say("停用", "disabled"), moment(u.Disabled)},
		[2]string{o.say("版本", "version"), fmt.Sprint(u.Version)})
	facts(w, "", rows)
	return nil
}

func (o *client) roleNames(roles []auth.Role) string {
	var out []string
	for _, r := range roles {
		if o.lang == "zh" {
			out = append(out, auth.RoleNames[r][0])
		} else {
			out = append(out, string(r))
		}
	}
	return strings.Join(out, o.say("、", ", "))
}

func joined(roles []auth.Role) string {
	o := client{lang: language()}
	return o.roleNames(roles)
}

func peopleListCommand() *cobra.Command {
	var o people
	c := &cobra.Command{
		Use: "list", Short: "list all users", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := o.directory(c.Context())
			if err != nil {
				return err
			}
			users, err := d.people()
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(c.OutOrStdout(), users)
			}
			t := newTable(c.OutOrStdout())
			t.AppendHeader(table.Row{o.say("编号", "id"), o.say("姓名", "name"), o.say("机构或主体", "agency or party"), o.say("角色", "roles"), o.say("停用", "disabled")})
			for i := range users {
				u := &users[i]
				t.AppendRow(table.Row{u.ID, short(u.Name), string(u.Agency) + string(u.Party), o.roleNames(u.Roles), moment(u.Disabled)})
			}
			t.Render()
			return nil
		},
	}
	o.flags(c)
	return c
}

// mayDo is what somebody may do, in words; in English the actions' names are words.
func (o *client) mayDo(actions []string) string {
	if o.lang == "zh" {
		return actionNames(strings.Join(actions, ","))
	}
	return strings.Join(actions, " ")
}

// whoamiCommand asks a node who the key's owner is.
func whoamiCommand() *cobra.Command {
	var o client
	var role string
	c := &cobra.Command{
		Use: "whoami", Short: "who the key's owner is at the node, and what he may do", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			node, err := o.open(role)
			if err != nil {
				return err
			}
			w, err := node.Whoami(c.Context())
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(c.OutOrStdout(), w)
			}
			roles := make([]auth.Role, len(w.Roles))
			for i, r := range w.Roles {
				roles[i] = auth.Role(r)
			}
			facts(c.OutOrStdout(), "", [][2]string{
				{o.say("编号", "id"), w.ID}, {o.say("姓名", "name"), w.Name}, {o.say("机构", "agency"), string(w.Agency)},
				{o.say("托管主体", "party"), string(w.Party)}, {o.say("角色", "roles"), o.roleNames(roles)},
				{o.say("账本化名", "on the ledger"), string(w.Person)}, {o.say("权限", "may"), o.mayDo(w.May)},
			})
			return nil
		},
	}
	o.flags(c)
	c.Flags().StringVar(&role, "role", "verifier", "with --demo: whose key")
	return c
}
