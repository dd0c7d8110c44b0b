package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// The types of changes of this node's people and keys. They are no operations: no ledger has them.
const (
	AddUser     model.Type = "people.add"
	ChangeUser  model.Type = "people.change"
	DisableUser model.Type = "people.disable"
	EnableUser  model.Type = "people.enable"
	IssueKey    model.Type = "keys.issue"
	RevokeKey   model.Type = "keys.revoke"
)

// ActionDrawKey is what the access log calls the drawing of an approved key.
const ActionDrawKey = "keys.draw"

// AboutPeople reports whether a type is that of a change of people or keys.
func AboutPeople(t model.Type) bool {
	switch t {
	case AddUser, ChangeUser, DisableUser, EnableUser, IssueKey, RevokeKey:
		return true
	}
	return false
}

// changesPeople reports whether a draft is about people or keys, which are this node's alone: it has no operations.
func changesPeople(d *sdk.HeldDraft) bool {
	for t := range d.Types {
		if AboutPeople(t) {
			return true
		}
	}
	return false
}

// The kinds of users and keys in drafts and in the access log.
const (
	KindUser model.Kind = "user"
	KindKey  model.Kind = "key"
)

// noPeople is a node without a directory.
type noPeople struct{}

func (noPeople) List() ([]sdk.User, []sdk.APIKey)           { return nil, nil }
func (noPeople) Words(*model.Draft) (zh, en string, m bool) { return "", "", false }

func (noPeople) Change(context.Context, Submission) (sdk.PeopleChanged, error) {
	return sdk.PeopleChanged{}, model.E(model.CodeNotFound)
}

func (noPeople) Draw(context.Context, Caller, string) (sdk.PeopleChanged, error) {
	return sdk.PeopleChanged{}, model.E(model.CodeNotFound)
}

// ownerOf is the agency whose administrators manage somebody: his own, or the one that hosts his party; "" for none.
func (a *API) ownerOf(agency model.AgencyID, party model.USCC) model.AgencyID {
	if party != "" {
		return a.agencies.Host(party)
	}
	return agency
}

// reads reports whether the caller may read about the people of an agency.
func (x *exchange) reads(owner model.AgencyID) bool {
	return owner != "" && x.caller.Decide(ActionReadPeople, owner).Allowed
}

type peopleInput struct {
	After string `query:"after" doc:"Only those that came after this id: next of the page before." maxLength:"64"`
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"500" doc:"At most so many."`
}

// pageOf takes those after an id that the caller may see, and the id with which the next page begins.
func pageOf[T any](all []T, in *peopleInput, id func(*T) string, sees func(*T) bool) (out []T, next string, err error) {
	out, found := []T{}, in.After == ""
	for i := range all {
		switch {
		case !found:
			found = id(&all[i]) == in.After
		case !sees(&all[i]):
		case len(out) == in.Limit:
			return out, id(&out[len(out)-1]), nil
		default:
			out = append(out, all[i])
		}
	}
	if !found {
		return nil, "", model.E(model.CodeBadID, "after")
	}
	return out, "", nil
}

func (a *API) getPeople(ctx context.Context, in *peopleInput) (*output[sdk.UserPage], error) {
	x := exchangeOf(ctx)
	users, _ := a.people.List()
	out, next, err := pageOf(users, in, func(u *sdk.User) string { return u.ID }, func(u *sdk.User) bool { return x.reads(a.ownerOf(u.Agency, u.Party)) })
	for i := range out {
		x.touched(KindUser, out[i].ID)
	}
	return &output[sdk.UserPage]{sdk.UserPage{Users: out, Next: next}}, err
}

type userInput struct {
	ID string `path:"id" doc:"The user's id." maxLength:"64"`
}

func (a *API) getUser(ctx context.Context, in *userInput) (*output[sdk.User], error) {
	x := exchangeOf(ctx)
	u, _ := a.user(in.ID)
	if u == nil || !x.reads(a.ownerOf(u.Agency, u.Party)) {
		return nil, model.E(model.CodeNotFound, "id")
	}
	return &output[sdk.User]{*u}, nil
}

func (a *API) getKeys(ctx context.Context, in *peopleInput) (*output[sdk.APIKeyPage], error) {
	x := exchangeOf(ctx)
	users, keys := a.people.List()
	owners := make(map[string]model.AgencyID, len(users))
	for i := range users {
		owners[users[i].ID] = a.ownerOf(users[i].Agency, users[i].Party)
	}
	out, next, err := pageOf(keys, in, func(k *sdk.APIKey) string { return k.ID }, func(k *sdk.APIKey) bool {
		if k.User != "" {
			return x.reads(owners[k.User])
		}
		return x.reads(k.Agency)
	})
	for i := range out {
		x.touched(KindKey, out[i].ID)
	}
	return &output[sdk.APIKeyPage]{sdk.APIKeyPage{Keys: out, Next: next}}, err
}

// user finds a user, and the agency whose administrators manage him.
func (a *API) user(id string) (*sdk.User, model.AgencyID) {
	users, _ := a.people.List()
	for i := range users {
		if users[i].ID == id {
			return &users[i], a.ownerOf(users[i].Agency, users[i].Party)
		}
	}
	return nil, ""
}

// managed finds the user of an id whom the caller may manage. Of others he hears no more than that he may not.
func (x *exchange) managed(id string) (*sdk.User, model.AgencyID, error) {
	u, owner := x.api.user(id)
	if u == nil {
		return nil, "", model.E(model.CodeNotFound, "id")
	}
	if err := x.manages(owner); err != nil {
		return nil, "", err
	}
	return u, owner, nil
}

func (x *exchange) manages(owner model.AgencyID) error {
	if owner == "" { // a party that the node does not host, a key that belongs to nobody known
		return model.E(model.CodeForbidden)
	}
	return x.decide(ActionChangePeople, owner)
}

// changePeople has a change made, or held for another administrator. body is the request's, d says what it is about.
func (a *API) changePeople(x *exchange, body []byte, d model.Draft, change sdk.PeopleChange) (err error) {
	key := x.r.Header.Get("Idempotency-Key")
	if !validKey(key) {
		return model.E(model.CodeBadValue, "Idempotency-Key").With("1 to 128 visible ASCII characters")
	}
	if d.Body, err = json.Marshal(change); err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	out, err := a.people.Change(x.r.Context(), Submission{
		Principal: x.caller.ID(), Agency: x.caller.Agency(), Person: x.caller.Person(), Name: x.caller.Name(),
		Key: key, Digest: requestDigest(x.r, body), Drafts: []model.Draft{d},
	})
	if held, ok := asHeld(err); ok {
		x.touched(kindDraft, held.Draft.ID)
		return a.held(x, held)
	}
	if err != nil {
		return err
	}
	return x.changed(out)
}

// changed answers with what was changed, and tells the access log of it.
func (x *exchange) changed(out sdk.PeopleChanged) error {
	if out.User != nil {
		x.touched(KindUser, out.User.ID)
	}
	if out.Key != nil {
		x.touched(KindKey, out.Key.ID)
	}
	return x.answerValue(http.StatusOK, out)
}

func (a *API) postUser(x *exchange) error {
	var in sdk.UserSpec
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	if in.Version != 0 {
		return model.E(model.CodeUnknownField, "version")
	}
	if (in.Agency == "") == (in.Party == "") {
		return model.E(model.CodeBadValue, "agency").With("a user belongs either to an agency or to a hosted party")
	}
	owner := a.ownerOf(in.Agency, in.Party)
	if err := x.manages(owner); err != nil {
		return err
	}
	return a.changePeople(x, body, model.Draft{Agency: owner, Type: AddUser, Kind: KindUser}, sdk.PeopleChange{User: &in})
}

// ofUser begins a change of the user whom the path names. in is decoded from the body; version, a part of it, is that of the
// user who was looked at, as he stands where it says none, and the draft says which: what is approved is a change of him.
func (x *exchange) ofUser(in any, version *int, typ model.Type) (body []byte, u *sdk.User, d model.Draft, err error) {
	if body, err = x.decode(in); err != nil {
		return nil, nil, d, err
	}
	u, owner, err := x.managed(x.r.PathValue("id"))
	if err != nil {
		return nil, nil, d, err
	}
	if *version == 0 {
		*version = u.Version
	}
	if *version < 1 {
		return nil, nil, d, model.E(model.CodeBadValue, "version").With("that of the user who was looked at, from 1")
	}
	return body, u, model.Draft{Agency: owner, Type: typ, Kind: KindUser, Record: model.RecordID(u.ID), Version: uint64(*version) + 1}, nil
}

// putUser changes a user, who stays with his agency: who goes to another is another user there, with a name of his own on
// the ledger.
func (a *API) putUser(x *exchange) error {
	var in sdk.UserSpec
	body, u, d, err := x.ofUser(&in, &in.Version, ChangeUser)
	if err != nil {
		return err
	}
	if in.Agency == "" && in.Party == "" {
		in.Agency, in.Party = u.Agency, u.Party
	}
	if in.Agency != u.Agency || in.Party != u.Party {
		return model.E(model.CodeBadValue, "agency").With("who goes to another agency is disabled here and added there")
	}
	return a.changePeople(x, body, d, sdk.PeopleChange{User: &in})
}

// postUserSwitch makes the handlers that disable and enable a user.
func (a *API) postUserSwitch(typ model.Type) handler {
	return func(x *exchange) error {
		var in sdk.UserVersion
		body, _, d, err := x.ofUser(&in, &in.Version, typ)
		if err != nil {
			return err
		}
		return a.changePeople(x, body, d, sdk.PeopleChange{})
	}
}

func (a *API) postAPIKey(x *exchange) error {
	var in sdk.NewAPIKey
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	if strings.TrimSpace(in.Name) == "" {
		return model.E(model.CodeMissingField, "name")
	}
	if now := x.api.now(); !in.Expires.Time().After(now) || in.Expires.Time().After(now.AddDate(10, 0, 0)) {
		return model.E(model.CodeBadValue, "expires").With("a moment within the next ten years")
	}
	owner := in.Agency
	if in.User != "" {
		if _, owner, err = x.managed(in.User); err != nil {
			return err
		}
	} else if err := x.manages(owner); err != nil {
		return err
	}
	return a.changePeople(x, body, model.Draft{Agency: owner, Type: IssueKey, Kind: KindKey}, sdk.PeopleChange{Key: &in})
}

func (a *API) postRevokeKey(x *exchange) error {
	body, err := x.decode(&nothing{})
	if err != nil {
		return err
	}
	_, keys := a.people.List()
	for i := range keys {
		k := &keys[i]
		if k.ID != x.r.PathValue("id") {
			continue
		}
		owner := k.Agency
		if k.User != "" {
			_, owner = a.user(k.User)
		}
		if err := x.manages(owner); err != nil {
			return err
		}
		return a.changePeople(x, body, model.Draft{Agency: owner, Type: RevokeKey, Kind: KindKey, Record: model.RecordID(k.ID)}, sdk.PeopleChange{})
	}
	return model.E(model.CodeNotFound, "id")
}

// postDrawKey draws one's half of the key of an approved draft, which one has drafted or approved. Its text is in this answer
// and nowhere else.
func (a *API) postDrawKey(x *exchange) error {
	if _, err := x.decode(&nothing{}); err != nil {
		return err
	}
	d, _, err := a.draft(x)
	if err != nil {
		return err
	}
	for _, agency := range d.Agencies {
		if err := x.manages(agency); err != nil {
			return err
		}
	}
	out, err := a.people.Draw(x.r.Context(), x.caller, d.ID)
	if err != nil {
		return err
	}
	return x.changed(out)
}

// peopleRoutes documents the routes that huma does not register.
func (d *document) peopleRoutes() {
	const waits = " Where the rule `keys` is in force the answer is 202 with a draft, which another security administrator approves."
	changed := d.schema(sdk.PeopleChanged{})
	for _, w := range []written{
		{routeAddUser, d.schema(sdk.UserSpec{}), changed, "For an agency of the caller's tree, or a party that one of them hosts." + waits},
		{routeChangeUser, d.schema(sdk.UserSpec{}), changed, "The whole of what the user is to be. A user stays with his agency or party." + waits},
		{routeDisableUser, d.schema(sdk.UserVersion{}), changed, "Keys, sessions and certificates end with the user, who is never removed: the ledger has the pseudonym." + waits},
		{routeEnableUser, d.schema(sdk.UserVersion{}), changed, strings.TrimSpace(waits)},
		{routeIssueKey, d.schema(sdk.NewAPIKey{}), changed, "A user's key, or one of a system that stands alone." + waits + " Both then draw a half of the key with `POST /v1/drafts/{id}/key`. A key of a system-, security- or audit-administrator is a user's."},
		{routeRevokeKey, d.schema(nothing{}), changed, strings.TrimSpace(waits)},
		{routeDrawKey, d.schema(nothing{}), changed, "Once it is approved, by who drafted it (half 1) and who approved it (half 2), in any order. The caller's half is drawn now and shown in this answer, once; asked for again it is `key_shown`. The key is half 1 and directly after it half 2, and works once both are drawn."},
	} {
		op := d.body(w)
		if w.rt != routeDrawKey {
			op.Responses["202"] = &huma.Response{Description: "Stored until another person has approved", Content: content("application/json", d.schema(sdk.DecidedDraft{}))}
		}
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString}, Description: "1 to 128 visible ASCII characters."})
		d.config.AddOperation(op)
	}
}
