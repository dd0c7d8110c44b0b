package sdk

import (
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Draft is the operation that a licence is issued with. It fills in what the shape leaves out: issued on the
// day of now, valid from the day of issue, an enterprise for holder. Errors are *model.Error and name a member.
func (in *NewLicence) Draft(now time.Time) (model.Draft, error) {
	for _, m := range []struct{ name, value string }{
		{"type", string(in.Type)}, {"number", in.Number}, {"holder.code", in.Holder.Code}, {"holder.name", in.Holder.Name},
	} {
		if m.value == "" {
			return model.Draft{}, model.E(model.CodeMissingField, m.name)
		}
	}
	value := model.Licence{
		Type: in.Type, Number: in.Number, Region: in.Region, Face: in.Face, File: in.File,
		IssuedOn: in.IssuedOn, ValidFrom: in.ValidFrom, ValidUntil: in.ValidUntil, HolderKind: in.Holder.Kind,
	}
	if value.Face == nil {
		value.Face = map[string]any{}
	}
	if value.IssuedOn == "" {
		value.IssuedOn = model.DateOf(now)
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
		code, err := model.ParseUSCC(in.Holder.Code)
		if err != nil {
			return model.Draft{}, model.E(model.CodeBadUSCC, "holder.code")
		}
		value.HolderCode, value.HolderName = code, in.Holder.Name
	}
	d := model.Draft{Agency: in.Agency, Type: model.LicenceIssue, Kind: model.KindLicence}
	if len(confidential.Fields()) > 0 {
		d.Confidential = &confidential
	}
	var err error
	d.Body, err = model.Canonical(model.IssueBody{Under: in.Under, Value: value})
	return d, err
}

// Draft is the operation of an act of a type on a licence. Members that the act does not know are refused, never
// ignored. Errors are *model.Error and name a member.
func (in *LicenceAct) Draft(typ model.Type, id model.RecordID) (model.Draft, error) {
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
			return model.Draft{}, model.E(model.CodeUnknownField, m.name)
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
	var err error
	d.Body, err = model.Canonical(operation)
	return d, err
}
