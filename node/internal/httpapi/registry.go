package httpapi

import (
	"encoding/json"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// send submits an operation whose body is a value of the model's.
func (a *API) send(x *exchange, body []byte, d model.Draft, operation any) (err error) {
	if d.Body, err = model.Canonical(operation); err != nil {
		return err
	}
	return a.submitOne(x, body, d)
}

func (a *API) postProposal(x *exchange) error {
	var in sdk.NewProposal
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	if err := checkPresent("action", string(in.Action), "kind", string(in.Kind), "record", string(in.Record)); err != nil {
		return err
	}
	if in.Action != model.Admit && in.Action != model.Change && in.Action != model.Remove {
		return model.E(model.CodeBadValue, "action").OneOf(string(model.Admit), string(model.Change), string(model.Remove))
	}
	if m := model.Machines[in.Kind]; m == nil || !m.Allows(in.Action) {
		return model.E(model.CodeBadValue, "kind")
	}
	if in.Action == model.Admit {
		if in.Version == 0 {
			in.Version = 1
		}
	} else if in.Version == 0 || (in.Value == nil && in.Action == model.Remove) {
		view, _, err := a.records.View(x.r.Context(), in.Kind, in.Record)
		if err != nil {
			return err
		}
		if in.Version == 0 {
			in.Version = view.Version + 1
		}
		if in.Value == nil && in.Action == model.Remove {
			in.Value = view.Public
		}
	}
	if in.Value == nil {
		return model.E(model.CodeMissingField, "value")
	}
	return a.send(x, body, model.Draft{Agency: in.Agency, Type: model.Propose, Kind: model.KindProposal},
		model.ProposeBody{Action: in.Action, Kind: in.Kind, Record: in.Record, Value: in.Value, Version: in.Version})
}

// proposalAct reads the path and the body that every act on a proposal has.
func (x *exchange) proposalAct() (id model.RecordID, in sdk.ProposalAct, body []byte, err error) {
	if id, err = recordPath(x); err == nil {
		body, err = x.decode(&in)
	}
	return id, in, body, err
}

// postApproval approves what the caller names: the content's digest and the registry that he saw are his to
// say, never filled in, since they are what he answers for.
func (a *API) postApproval(x *exchange) error {
	id, in, body, err := x.proposalAct()
	if err != nil {
		return err
	}
	if in.Content == nil {
		return model.E(model.CodeMissingField, "content")
	}
	if in.Registry == nil {
		return model.E(model.CodeMissingField, "registry")
	}
	return a.send(x, body, model.Draft{Agency: in.Agency, Type: model.Approve, Kind: model.KindProposal, Record: id},
		model.ApproveBody{Content: *in.Content, Registry: *in.Registry})
}

// postEnactment carries out a proposal as it stands in this node's records; the contract holds it to what
// was approved.
func (a *API) postEnactment(x *exchange) error {
	id, in, body, err := x.proposalAct()
	if err != nil {
		return err
	}
	if in.Content != nil || in.Registry != nil {
		return model.E(model.CodeUnknownField, "content")
	}
	view, _, err := a.records.View(x.r.Context(), model.KindProposal, id)
	if err != nil {
		return err
	}
	var p model.Proposal
	if err := json.Unmarshal(view.Public, &p); err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	return a.send(x, body, model.Draft{Agency: in.Agency, Type: p.Action, Kind: p.Kind, Record: p.Record, Version: p.Version},
		model.EnactBody{Proposal: id, Value: p.Value})
}

func (a *API) postClose(x *exchange) error {
	id, in, body, err := x.proposalAct()
	if err != nil {
		return err
	}
	if in.Content != nil || in.Registry != nil {
		return model.E(model.CodeUnknownField, "content")
	}
	return a.send(x, body, model.Draft{Agency: in.Agency, Type: model.CloseProposal, Kind: model.KindProposal, Record: id}, model.EmptyBody{})
}

func (a *API) postDelegation(x *exchange) error {
	var in sdk.NewDelegation
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	return a.send(x, body, model.Draft{Agency: in.Agency, Type: model.Delegate, Kind: model.KindDelegation}, model.DelegateBody{Value: in.Value})
}

func (a *API) postParty(x *exchange) error {
	var in sdk.NewParty
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	return a.send(x, body, model.Draft{Agency: in.Agency, Type: model.HostParty, Kind: model.KindParty, Record: model.RecordID(in.Value.USCC)},
		model.PartyBody{Value: in.Value})
}

// postRecordAct makes the handler of acts that say all in their route.
func (a *API) postRecordAct(typ model.Type, kind model.Kind) handler {
	return func(x *exchange) error {
		id, err := recordPath(x)
		if err != nil {
			return err
		}
		var in sdk.RecordAct
		body, err := x.decode(&in)
		if err != nil {
			return err
		}
		return a.send(x, body, model.Draft{Agency: in.Agency, Type: typ, Kind: kind, Record: id, Version: in.Version}, model.EmptyBody{})
	}
}

// postKey changes an agency's own key. The members that stand are passed on: the node completes the rest.
func (a *API) postKey(x *exchange) error {
	id, err := recordPath(x)
	if err != nil {
		return err
	}
	var in sdk.NewKey
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	version := in.Version
	in.Version = 0
	return a.send(x, body, model.Draft{Agency: model.AgencyID(id), Type: model.RotateKey, Kind: model.KindAgency, Record: id, Version: version}, in)
}

func (a *API) putEndpoint(x *exchange) error {
	id, err := recordPath(x)
	if err != nil {
		return err
	}
	var in sdk.NewEndpoint
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	return a.send(x, body, model.Draft{Agency: model.AgencyID(id), Type: model.SetEndpoint, Kind: model.KindAgency, Record: id, Version: in.Version},
		model.EndpointBody{Endpoint: in.Endpoint})
}
