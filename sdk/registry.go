package sdk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const proposalsPath = "/v1/registry/proposals"

// Propose proposes a change of the registry. The outcome names the proposal's record.
func (c *Client) Propose(ctx context.Context, p NewProposal, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPost, proposalsPath, p, w)
}

// Seen is the approval of a proposal as it was read: of that content, at that version of the registry.
// Whoever approves has looked at exactly this.
func Seen(r Record) (ProposalAct, error) {
	var p model.Proposal
	if r.Record.Kind != model.KindProposal {
		return ProposalAct{}, model.E(model.CodeBadValue, "kind")
	}
	if err := json.Unmarshal(r.Record.Public, &p); err != nil {
		return ProposalAct{}, model.E(model.CodeInvalidJSON).Because(err)
	}
	return ProposalAct{Content: &p.Content, Registry: &r.At.Registry}, nil
}

// Approve approves a proposal; see Seen.
func (c *Client) Approve(ctx context.Context, proposal model.RecordID, in ProposalAct, w Write) (model.Outcome, error) {
	return c.proposalAct(ctx, proposal, "approve", in, w)
}

// Enact carries out an approved proposal.
func (c *Client) Enact(ctx context.Context, proposal model.RecordID, in ProposalAct, w Write) (model.Outcome, error) {
	return c.proposalAct(ctx, proposal, "enact", in, w)
}

// CloseProposal withdraws a proposal.
func (c *Client) CloseProposal(ctx context.Context, proposal model.RecordID, in ProposalAct, w Write) (model.Outcome, error) {
	return c.proposalAct(ctx, proposal, "close", in, w)
}

func (c *Client) proposalAct(ctx context.Context, id model.RecordID, act string, in ProposalAct, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPost, proposalsPath+"/"+url.PathEscape(string(id))+"/"+act, in, w)
}

// Delegate delegates issuing.
func (c *Client) Delegate(ctx context.Context, d NewDelegation, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPost, "/v1/registry/delegations", d, w)
}

// EndDelegation ends a delegation.
func (c *Client) EndDelegation(ctx context.Context, id model.RecordID, in RecordAct, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPost, "/v1/registry/delegations/"+url.PathEscape(string(id))+"/end", in, w)
}

// HostParty registers a party that the agency's node hosts.
func (c *Client) HostParty(ctx context.Context, p NewParty, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPost, "/v1/registry/parties", p, w)
}

// ReleaseParty releases a hosted party.
func (c *Client) ReleaseParty(ctx context.Context, uscc model.USCC, in RecordAct, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPost, "/v1/registry/parties/"+url.PathEscape(string(uscc))+"/release", in, w)
}

// RotateKey changes an agency's own signing key.
func (c *Client) RotateKey(ctx context.Context, agency model.AgencyID, in NewKey, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPost, "/v1/registry/agencies/"+url.PathEscape(string(agency))+"/keys", in, w)
}

// SetEndpoint changes an agency's own endpoint.
func (c *Client) SetEndpoint(ctx context.Context, agency model.AgencyID, in NewEndpoint, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPut, "/v1/registry/agencies/"+url.PathEscape(string(agency))+"/endpoint", in, w)
}
