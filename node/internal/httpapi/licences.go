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
	d, err := in.Draft(a.now())
	if err != nil {
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
	d, err := in.Draft(typ, id)
	if err != nil {
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
