package sdk

import (
	"context"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Whoami is who is signed in.
type Whoami struct {
	ID     string          `json:"id" doc:"The user's id, or that of a key that belongs to no user."`
	Name   string          `json:"name" doc:"What the person or system is called at this node."`
	Agency model.AgencyID  `json:"agency,omitempty" doc:"The agency for which it acts, with those below it."`
	Party  model.USCC      `json:"party,omitempty" doc:"The hosted party whose person it is."`
	Person model.Pseudonym `json:"person" doc:"Its name on the ledger."`
	Roles  []string        `json:"roles"`
	May    []string        `json:"may" doc:"The actions that it may do for its own agency."`
}

// Whoami asks the node who the key's owner is, and what he may do.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	return get[Whoami](ctx, c, "/v1/whoami")
}
