package app

import (
	"context"
	"net/http"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
)

// gate signs callers in and counts their requests.
type gate struct {
	people *auth.Directory
	limits *auth.Limits
}

// SignIn finds the caller of a request.
func (g gate) SignIn(r *http.Request) (httpapi.Caller, error) {
	p, err := g.people.SignInKey(r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (g gate) TakeCaller(id string) time.Duration      { return g.limits.Principal(id) }
func (g gate) TakeAddress(remote string) time.Duration { return g.limits.Address(remote) }

func newGate(people *auth.Directory, perSecond float64) gate {
	return gate{people: people, limits: auth.NewLimits(auth.Rates{PrincipalPerSecond: perSecond})}
}

// openPeople opens who may sign in, under the node's policies.
func (n *Node) openPeople() error {
	secret, err := n.vault.Secret(NodeSecret, func() []byte { s := model.NewSalt(); return s[:] })
	if err != nil {
		return err
	}
	policies, err := auth.OpenPolicies(n.path(auth.LocalPolicies))
	if err != nil {
		return err
	}
	n.people, err = auth.OpenDirectory(n.cfg.dir, secret, policies, registry{n})
	return err
}

// refreshPeople takes up what `zhenglian people` and `zhenglian keys` change while the node runs.
func (n *Node) refreshPeople(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := n.people.Refresh(); err != nil {
				n.log.Error("people and API keys cannot be read; those known before stay in force", "error", err)
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
	return auth.OpenDirectory(cfg.dir, unused[:], policies, nil)
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
func (r registry) Hosts(party model.USCC) bool {
	h, e, err := r.n.records.RegistryEntry(model.KindParty, model.RecordID(party))
	p, ok := e.(*model.Party)
	if err != nil || !ok || h.State != model.Active {
		return false
	}
	host, err := r.n.records.Agency(p.Host)
	return err == nil && host != nil && host.Node == r.n.cfg.Node
}
