package httpapi

import (
	"context"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// output is the answer of a reading route.
type output[T any] struct{ Body T }

type recordInput struct {
	Kind string `path:"kind" doc:"The record's kind, such as licence or agency."`
	ID   string `path:"id" doc:"The record's id."`
}

func (in *recordInput) parse() (model.Kind, model.RecordID, error) {
	kind := model.Kind(in.Kind)
	if model.Machines[kind] == nil {
		return "", "", model.E(model.CodeNotFound, "kind")
	}
	id, err := model.ParseRecordID(in.ID)
	if err != nil {
		return "", "", model.E(model.CodeBadID, "id")
	}
	return kind, id, nil
}

func (a *API) getRecord(ctx context.Context, in *recordInput) (*output[sdk.Record], error) {
	kind, id, err := in.parse()
	if err != nil {
		return nil, err
	}
	return a.record(ctx, kind, id)
}

func (a *API) record(ctx context.Context, kind model.Kind, id model.RecordID) (*output[sdk.Record], error) {
	view, at, err := a.records.View(ctx, kind, id)
	return &output[sdk.Record]{sdk.Record{Record: view, At: at}}, err
}

type licenceInput struct {
	ID string `path:"id" doc:"The licence's record id."`
}

func (a *API) getLicence(ctx context.Context, in *licenceInput) (*output[sdk.Record], error) {
	return a.getRecord(ctx, &recordInput{string(model.KindLicence), in.ID})
}

type historyInput struct {
	Kind  string `path:"kind" doc:"The record's kind, such as licence or agency."`
	ID    string `path:"id" doc:"The record's id."`
	From  int64  `query:"from" default:"-1" minimum:"-1" doc:"Only versions whose position is greater than this."`
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"At most so many."`
}

func (a *API) getHistory(ctx context.Context, in *historyInput) (*output[sdk.HistoryPage], error) {
	kind, id, err := (&recordInput{in.Kind, in.ID}).parse()
	if err != nil {
		return nil, err
	}
	entries, at, err := a.records.History(ctx, kind, id, in.From, in.Limit+1) // one more tells whether there is more
	if err != nil {
		return nil, err
	}
	page := sdk.HistoryPage{Entries: entries, At: at}
	if len(entries) > in.Limit {
		page.Entries = entries[:in.Limit]
		page.Next = &page.Entries[in.Limit-1].Position
	}
	if page.Entries == nil {
		page.Entries = []model.HistoryEntry{}
	}
	return &output[sdk.HistoryPage]{page}, nil
}

// registryKinds are the names of the registry's kinds in paths, and the kinds' own names.
var registryKinds = map[string]model.Kind{
	"organisations": model.KindOrganisation, "agencies": model.KindAgency, "parties": model.KindParty,
	"licence-types": model.KindLicenceType, "delegations": model.KindDelegation,
	"successions": model.KindSuccession, "policies": model.KindPolicy, "proposals": model.KindProposal,

	"organisation": model.KindOrganisation, "agency": model.KindAgency, "party": model.KindParty,
	"licence-type": model.KindLicenceType, "delegation": model.KindDelegation,
	"succession": model.KindSuccession, "policy": model.KindPolicy, "proposal": model.KindProposal,
}

type listInput struct {
	Kind  string `path:"kind" doc:"organisations, agencies, parties, licence-types, delegations, successions, policies or proposals."`
	After string `query:"after" doc:"Only entries whose id is greater than this."`
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"At most so many."`
}

func (a *API) getRegistryList(ctx context.Context, in *listInput) (*output[sdk.RecordPage], error) {
	kind, ok := registryKinds[in.Kind]
	if !ok {
		return nil, model.E(model.CodeNotFound, "kind")
	}
	var after model.RecordID
	if in.After != "" {
		var err error
		if after, err = model.ParseRecordID(in.After); err != nil {
			return nil, model.E(model.CodeBadID, "after")
		}
	}
	views, at, err := a.records.List(ctx, kind, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	page := sdk.RecordPage{Records: views, At: at}
	if len(views) > in.Limit {
		page.Records = views[:in.Limit]
		page.Next = page.Records[in.Limit-1].ID
	}
	if page.Records == nil {
		page.Records = []model.View{}
	}
	return &output[sdk.RecordPage]{page}, nil
}

func (a *API) getRegistryEntry(ctx context.Context, in *recordInput) (*output[sdk.Record], error) {
	kind, ok := registryKinds[in.Kind]
	if !ok {
		return nil, model.E(model.CodeNotFound, "kind")
	}
	return a.getRecord(ctx, &recordInput{string(kind), in.ID})
}
