package httpapi

import (
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// postLicence issues a licence from the friendlier shape.
func (a *API) postLicence(x *exchange) error {
	var in sdk.NewLicence
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	if err := checkPresent("type", string(in.Type), "number", in.Number, "holder.code", in.Holder.Code, "holder.name", in.Holder.Name); err != nil {
		return err
	}
	value := model.Licence{
		Type: in.Type, Number: in.Number, Region: in.Region, Face: in.Face, File: in.File,
		IssuedOn: in.IssuedOn, ValidFrom: in.ValidFrom, ValidUntil: in.ValidUntil, HolderKind: in.Holder.Kind,
	}
	if value.Face == nil {
		value.Face = map[string]any{}
	}
	if value.IssuedOn == "" {
		value.IssuedOn = model.DateOf(a.now())
	}
	if value.ValidFrom == "" {
		value.ValidFrom = value.IssuedOn
	}
	if value.HolderKind == "" {
		value.HolderKind = model.HolderEnterprise
	}
	confidential := model.LicenceConfidential{Face: in.ConfidentialFace, File: in.UnsealedFile}
	if value.HolderKind.Personal() {
		confidential.HolderCode, confidential.HolderName = in.Holder.Code, in.Holder.Name
	} else {
		if value.HolderCode, err = model.ParseUSCC(in.Holder.Code); err != nil {
			return model.E(model.CodeBadUSCC, "holder.code")
		}
		value.HolderName = in.Holder.Name
	}
	d := model.Draft{Agency: in.Agency, Type: model.LicenceIssue, Kind: model.KindLicence}
	if len(confidential.Fields()) > 0 {
		d.Confidential = &confidential
	}
	if d.Body, err = model.Canonical(model.IssueBody{Under: in.Under, Value: value}); err != nil {
		return err
	}
	return a.submitOne(x, body, d)
}

// licenceActs are the acts by their names in paths.
var licenceActs = map[string]model.Type{
	"amend": model.LicenceAmend, "renew": model.LicenceRenew, "transfer": model.LicenceTransfer,
	"suspend": model.LicenceSuspend, "resume": model.LicenceResume, "dormant": model.LicenceDormant,
	"rescind": model.LicenceRescind, "withdraw": model.LicenceWithdraw, "penalty-revoke": model.LicenceRevoke,
	"cancel": model.LicenceCancel, "void-lost": model.LicenceVoidLost,
}

// postLicenceAct acts on a licence. Members that the act does not know are refused, never ignored.
func (a *API) postLicenceAct(x *exchange) error {
	typ, ok := licenceActs[x.r.PathValue("act")]
	if !ok {
		return model.E(model.CodeNotFound, "act")
	}
	if err := x.decide(string(typ), ""); err != nil {
		return err
	}
	id, err := recordPath(x)
	if err != nil {
		return err
	}
	var in sdk.LicenceAct
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	act := model.Act{Decision: in.Decision, Effective: in.Effective, Reason: in.Reason}
	amends := typ == model.LicenceAmend || typ == model.LicenceRenew
	for _, m := range []struct {
		name         string
		given, known bool
	}{
		{"how", in.How != "", typ == model.LicenceAmend},
		{"value", in.Value != nil, amends},
		{"previous", in.Previous != nil, amends},
		{"confidential", in.Confidential != nil, amends},
		{"to", in.To != "", typ == model.LicenceTransfer},
		{"from_start", in.FromStart, typ == model.LicenceRescind},
	} {
		if m.given && !m.known {
			return model.E(model.CodeUnknownField, m.name)
		}
	}
	var operation any
	switch {
	case amends:
		operation = struct {
			model.Act
			How      model.AmendKind `json:"how"`
			Value    model.RawValue  `json:"value,omitempty"`
			Previous model.RawValue  `json:"previous,omitempty"`
		}{act, in.How, in.Value, in.Previous}
	case typ == model.LicenceTransfer:
		operation = struct {
			model.Act
			To model.AgencyID `json:"to"`
		}{act, in.To}
	default:
		operation = model.ActBody{Act: act, FromStart: in.FromStart}
	}
	d := model.Draft{Agency: in.Agency, Type: typ, Kind: model.KindLicence, Record: id, Version: in.Version, Confidential: in.Confidential}
	if d.Body, err = model.Canonical(operation); err != nil {
		return err
	}
	return a.submitOne(x, body, d)
}

// recordPath reads the record id in the path.
func recordPath(x *exchange) (model.RecordID, error) {
	id, err := model.ParseRecordID(x.r.PathValue("id"))
	if err != nil {
		return "", model.E(model.CodeBadID, "id")
	}
	return id, nil
}

// checkPresent takes names and values in turn and names the first that is empty.
func checkPresent(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return model.E(model.CodeMissingField, pairs[i])
		}
	}
	return nil
}
