package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// gate signs callers in and counts their requests.
type gate struct {
	signIn *auth.SignIn
	limits *auth.Limits
}

// SignIn finds the caller of a request.
func (g gate) SignIn(r *http.Request) (httpapi.Caller, error) {
	p, err := g.signIn.Find(r)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (g gate) TakeCaller(id string) time.Duration                   { return g.limits.Principal(id) }
func (g gate) TakeOpen(r *http.Request, route string) time.Duration { return g.limits.Open(r, route) }
func (g gate) TakeFailed(r *http.Request) time.Duration             { return g.limits.Failed(r) }

func (g gate) Wait(r *http.Request) time.Duration {
	if !g.signIn.Costly(r) {
		return 0
	}
	return g.limits.FailedWait(r)
}

func newGate(s *auth.SignIn, cfg *Config) (gate, error) {
	proxies, err := auth.ParseProxies(cfg.TrustedProxies)
	return gate{s, auth.NewLimits(auth.Rates{PrincipalPerSecond: cfg.RatePerSecond, Proxies: proxies})}, err
}

// openPeople opens who may sign in and how, under the node's policies. Issuers are asked when somebody comes with their
// word: a node starts without them.
func (n *Node) openPeople() error {
	secret, err := n.vault.Secret(NodeSecret, func() []byte { s := model.NewSalt(); return s[:] })
	if err != nil {
		return err
	}
	policies, err := auth.OpenPolicies(n.path(auth.LocalPolicies))
	if err != nil {
		return err
	}
	if n.people, err = auth.OpenDirectory(n.cfg.dir, secret, policies, registry{n}); err != nil {
		return err
	}
	n.people.OnChange(n.tellChanges)
	n.signIn = &auth.SignIn{People: n.people}
	if len(n.cfg.OIDC) == 0 {
		return nil
	}
	var configs []auth.IssuerConfig
	for _, o := range n.cfg.OIDC {
		c, err := n.cfg.issuer(o)
		if err != nil {
			return fmt.Errorf("%s: oidc: %s: %w", ConfigFile, o.Issuer, err)
		}
		configs = append(configs, c)
	}
	if n.signIn.Issuers, err = auth.NewIssuers(configs); err != nil {
		return fmt.Errorf("%s: %w", ConfigFile, err)
	}
	n.signIn.Login = auth.NewLogin(n.people, n.signIn.Issuers)
	return nil
}

// toldWithin bounds the wait for the disk: the directory stands still meanwhile, signing in does not.
const toldWithin = 10 * time.Second

// tellChanges has the access log say that a user or key has changed while the node runs, by whatever way, and whose he is:
// who audits that agency sees it. It is on the disk when the change is acknowledged. What was changed in the files while
// the node was stopped is not told.
func (n *Node) tellChanges(changes []auth.Changed) {
	ctx, cancel := context.WithTimeout(context.Background(), toldWithin)
	defer cancel()
	for _, c := range changes {
		e := sdk.AccessEntry{
			Time: model.TimeOf(time.Now()), Person: c.By, Name: c.ByName, Agency: c.Agency, Party: c.Party, Action: c.What, Status: http.StatusOK, Count: 1,
			Use: &sdk.AccessUse{ItemName: c.Name}, Records: []sdk.AccessRecord{{Kind: httpapi.KindUser, ID: c.ID}},
		}
		if strings.HasPrefix(c.What, "keys.") {
			e.Records[0].Kind = httpapi.KindKey
		}
		if c.Party != "" {
			e.Agency = registry{n}.Host(c.Party)
		}
		logged, err := n.access.Begin(&e)
		if err == nil {
			err = logged(ctx)
		}
		if err != nil {
			n.log.Error("the access log does not say that people or keys have changed", "what", c.What, "id", c.ID, "error", err)
		}
	}
}

// issuer reads the files that the configuration of an issuer names.
func (c *Config) issuer(o OIDC) (auth.IssuerConfig, error) {
	out := auth.IssuerConfig{Issuer: o.Issuer, ClientID: o.ClientID, Audience: o.Audience, RedirectURL: o.RedirectURL}
	if o.ClientSecretFile != "" {
		path := c.path(o.ClientSecretFile)
		info, err := os.Stat(path)
		if err != nil {
			return out, err
		}
		if info.Mode().Perm()&0o077 != 0 {
			return out, fmt.Errorf("others can read %s; set its mode to 0600", path)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return out, err
		}
		if out.ClientSecret = strings.TrimSpace(string(raw)); out.ClientSecret == "" {
			return out, fmt.Errorf("%s is empty", path)
		}
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(c.path(o.CAFile))
		if err != nil {
			return out, err
		}
		if out.Roots, err = certPool(pem); err != nil {
			return out, fmt.Errorf("%s: %w", o.CAFile, err)
		}
	}
	return out, nil
}

// login gives the API its way to sign browsers in, nil where no issuer is for that.
func (n *Node) login() httpapi.Login {
	if n.signIn.Login == nil {
		return nil
	}
	return n.signIn.Login
}

// issuers tells which identity providers did not answer when they were last asked. Keys and certificates do not need
// them.
func (h health) issuers() []sdk.Component {
	if h.n.signIn.Issuers == nil {
		return nil
	}
	c := sdk.Component{Name: "sign-in", Status: sdk.OK}
	for address, err := range h.n.signIn.Issuers.Trouble() {
		c.Status, c.Code = sdk.Degraded, model.CodeIssuerUnreachable
		c.Detail = strings.TrimPrefix(c.Detail+"; "+address+": "+brief(err.Error()), "; ")
	}
	return []sdk.Component{c}
}

// refreshPeople takes up what `zhenglian people` and `zhenglian keys` change while the node runs.
func (n *Node) refreshPeople(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err := n.people.Refresh()
			switch {
			case err == nil && said != "":
				n.log.Info("people and API keys are read again")
				said = ""
			case err != nil && err.Error() != said:
				n.log.Error("people and API keys cannot be read; those known before stay in force", "error", err)
				said = err.Error()
			}
		}
	}
}

// People opens a node's people and API keys to list and change them. The node may be running: it takes changes up
// within a second. Pseudonyms are derived when the node signs a caller in, so the secret, which a running node's vault
// holds, is not needed for any of that.
func People(cfg *Config) (*auth.Directory, error) {
	policies, err := auth.OpenPolicies(cfg.path(auth.LocalPolicies))
	if err != nil {
		return nil, err
	}
	unused := model.NewSalt()
	d, err := auth.OpenDirectory(cfg.dir, unused[:], policies, nil)
	if err == nil {
		d.By(operator())
	}
	return d, err
}

// operator is who runs this program on the node's machine, for the access log: people and keys are changed there by who may
// write the node's folder, without a second person.
func operator() string {
	who := "os:" + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		who = "os:" + u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" {
		who += ",sudo:" + by
	}
	return strings.ToValidUTF8(who[:min(len(who), 128)], "")
}

// registry is what the node's records say of the registry's tree and parties. Entries are in memory.
type registry struct{ n *Node }

// maxDepth bounds the walk up the registry's tree.
const maxDepth = 16

// Below says whether an agency stands below another; what is not registered stands below nobody.
func (r registry) Below(agency, above model.AgencyID) bool {
	for range maxDepth {
		a, err := r.n.records.Agency(agency)
		if err != nil || a == nil || a.Parent == "" {
			return false
		}
		if a.Parent == above {
			return true
		}
		agency = a.Parent
	}
	return false
}

// Hosts says whether an agency of this node hosts a party.
func (r registry) Hosts(party model.USCC) bool { return r.Host(party) != "" }

// Host is the agency of this node that hosts a party, "" for none.
func (r registry) Host(party model.USCC) model.AgencyID {
	h, e, err := r.n.records.RegistryEntry(model.KindParty, model.RecordID(party))
	p, ok := e.(*model.Party)
	if err != nil || !ok || h.State != model.Active {
		return ""
	}
	host, err := r.n.records.Agency(p.Host)
	if err != nil || host == nil || host.Node != r.n.cfg.Node {
		return ""
	}
	return host.ID
}

// Tops are the agencies of this node that stand below no other of it.
func (r registry) Tops() (out []model.AgencyID) {
	s := r.n.records.Snapshot()
	defer s.Release()
	own := map[model.AgencyID]model.AgencyID{} // to the parent of each
	for after := model.RecordID(""); ; {
		page, err := s.List(model.KindAgency, after, 256)
		if err != nil || len(page) == 0 {
			break
		}
		for _, v := range page {
			after = v.ID
			var a model.Agency
			if json.Unmarshal(v.Public, &a) == nil && v.State == model.Active && a.Node == r.n.cfg.Node && a.Msp == r.n.cfg.Msp {
				own[a.ID] = a.Parent
			}
		}
	}
	for a := range own {
		top := true
		for p, n := own[a], 0; p != "" && top && n < maxDepth; n++ {
			if _, ok := own[p]; ok {
				top = false
			}
			above, err := r.n.records.Agency(p)
			if p = ""; err == nil && above != nil {
				p = above.Parent
			}
		}
		if top {
			out = append(out, a)
		}
	}
	return out
}
