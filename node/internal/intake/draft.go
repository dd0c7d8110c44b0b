package intake

import (
	"encoding/base64"
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/vault"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// work is one call of Accept. Used by one goroutine.
type work struct {
	in       *Intake
	who      Caller
	ops      []model.Operation
	sealed   []vault.Item
	claimed  []model.OpID
	dry      bool                             // nothing is to come of it: see Try
	agencies map[model.AgencyID]*model.Agency // that the caller was found to act for
	serials  map[serialKey]uint64             // the next serial of each agency and kind in this call
}

type serialKey struct {
	kind   model.Kind
	agency model.AgencyID
}

// number reserves the serials of all new records of the call at once, so that they are consecutive and
// fill the ledger's pages.
func (w *work) number(drafts []model.Draft) (int, error) {
	count := map[serialKey]int{}
	for i := range drafts {
		d := &drafts[i]
		if d.Kind == "" {
			d.Kind = kindOf(d.Type)
		}
		if _, err := w.actsFor(d.Agency); err != nil {
			return i, err
		}
		if w.serial(d) {
			if d.Record != "" {
				return i, model.E(model.CodeBadID, "record").With("the node gives a new record its id; leave it out")
			}
			count[serialKey{d.Kind, d.Agency}]++
		}
	}
	for k, n := range count {
		first, err := w.in.Vault.Serials(k.kind, k.agency, n, func() (uint64, error) {
			last, err := w.in.Ledger.LastSerial(k.kind, k.agency)
			return last + 1, err
		})
		if err != nil {
			return -1, err
		}
		w.serials[k] = first
	}
	return -1, nil
}

// serial reports whether the draft makes a record whose id this node gives.
func (w *work) serial(d *model.Draft) bool {
	switch d.Kind {
	case model.KindLicence, model.KindProposal, model.KindDelegation:
		return model.Machines[d.Kind].Creates(d.Type)
	}
	return false
}

// kindOf is the kind that a type of operation acts on, where it is one kind only.
func kindOf(t model.Type) model.Kind {
	var kind model.Kind
	for k, m := range model.Machines {
		if m.Allows(t) {
			if kind != "" {
				return ""
			}
			kind = k
		}
	}
	return kind
}

// actsFor checks that the caller may act for an agency: its own or one below it, and that this node acts
// for it.
func (w *work) actsFor(id model.AgencyID) (*model.Agency, error) {
	if a, ok := w.agencies[id]; ok {
		return a, nil
	}
	a, err := w.in.Ledger.Agency(id)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, model.E(model.CodeAgencyUnknown, "agency")
	}
	if a.Node != w.in.Node {
		return nil, model.E(model.CodeNotActingFor, "agency")
	}
	up := a
	for range 16 {
		if up.ID == w.who.Agency {
			w.agencies[id] = a
			return a, nil
		}
		if up.Parent == "" {
			break
		}
		if up, err = w.in.Ledger.Agency(up.Parent); err != nil {
			return nil, err
		}
		if up == nil {
			break
		}
	}
	return nil, model.E(model.CodeForbidden, "agency")
}

func (w *work) draft(i int, d *model.Draft, id model.OpID) error {
	if _, ok := model.Types[d.Type]; !ok || model.Derived(d.Type) {
		return model.E(model.CodeUnknownOperation, "type")
	}
	m := model.Machines[d.Kind]
	if m == nil || !m.Allows(d.Type) {
		return model.E(model.CodeUnknownOperation, "kind")
	}
	op := &w.ops[i]
	*op = model.Operation{Agency: d.Agency, Body: d.Body, ID: id, Kind: d.Kind, Person: w.who.Person, Record: d.Record, Type: d.Type, Version: d.Version}
	if d.Confidential != nil && d.Type != model.LicenceIssue && d.Type != model.LicenceAmend && d.Type != model.LicenceRenew {
		return model.E(model.CodeBadValue, "confidential")
	}
	if w.serial(d) {
		k := serialKey{d.Kind, d.Agency}
		op.Record = model.NewRecordID(d.Agency, w.serials[k])
		w.serials[k]++
	}
	if op.Record == "" {
		return model.E(model.CodeMissingField, "record")
	}
	if _, err := model.ParseRecordID(string(op.Record)); err != nil {
		return model.E(model.CodeBadID, "record")
	}
	if len(op.Body) == 0 {
		op.Body = []byte("{}")
	}
	view, err := w.view(op)
	if err != nil {
		return err
	}
	var recorded uint64
	if view != nil {
		recorded = view.Version
	}
	// A version that a caller gives guards against a change in between; it can be no other than the next.
	if next := w.in.pending.next(op.Kind, op.Record, recorded); op.Version == 0 {
		op.Version = next
	} else if op.Version != next {
		return model.E(model.CodeVersionConflict, "version")
	}
	if err := w.body(op, d, view); err != nil {
		return err
	}
	if len(op.Body) > model.MaxOperation-512 {
		return model.E(model.CodeTooLarge, "body")
	}
	if op.Type != model.LicenceIssue && op.Body != nil { // whose body the model itself has written
		// What no endorser could read must never be accepted: it would wait in the outbox for ever.
		probe := *op
		probe.Time = model.TimeOf(w.in.Clock())
		if _, err := model.DecodeOperation(probe.Encode()); err != nil {
			return err
		}
	}
	w.in.pending.version(op.Kind, op.Record, op.Version, op.ID)
	w.claimed = append(w.claimed, op.ID)
	return nil
}

// view reads the record that an operation acts on, nil for a new one. A new licence's serial is fresh, so
// the common case reads nothing.
func (w *work) view(op *model.Operation) (*model.View, error) {
	if op.Type == model.LicenceIssue && op.Version == 0 {
		return nil, nil
	}
	view, err := w.in.Ledger.View(op.Kind, op.Record)
	if err != nil {
		return nil, err
	}
	if view == nil && !model.Machines[op.Kind].Creates(op.Type) && w.in.pending.next(op.Kind, op.Record, 0) == 1 {
		return nil, model.E(model.CodeNotFound, "record")
	}
	return view, nil
}

// body completes and checks the body.
func (w *work) body(op *model.Operation, d *model.Draft, view *model.View) error {
	switch op.Type {
	case model.LicenceIssue:
		return w.issue(op, d)
	case model.LicenceAmend, model.LicenceRenew:
		return w.amend(op, d, view)
	case model.LicenceTransfer:
		if err := w.transfer(op, view); err != nil {
			return err
		}
	case model.RotateKey:
		if err := w.rotate(op); err != nil || op.Body == nil {
			return err
		}
	}
	var err error
	if op.Body, err = model.Complete(op.Type, op.Kind, op.Body); err != nil { // what a caller left out
		return err
	}
	_, err = model.DecodeBody(op)
	return err
}

func (w *work) issue(op *model.Operation, d *model.Draft) error {
	var b model.IssueBody
	if err := model.DecodeCanonical(op.Body, &b); err != nil {
		return err
	}
	agency := w.agencies[op.Agency]
	v := &b.Value
	if v.Issuer == "" {
		v.Issuer = agency.USCC
	}
	if v.Region == "" {
		v.Region = agency.Region
	}
	if v.Face == nil {
		v.Face = map[string]any{}
	}
	if v.HolderKind == "" {
		v.HolderKind = model.HolderEnterprise
		if d.Confidential != nil && d.Confidential.HolderCode != "" {
			v.HolderKind = model.HolderPerson
		}
	}
	if v.Identifier == "" {
		_, n, _ := op.Record.Serial()
		serial := serialText(n)
		if v.Issuer != agency.USCC { // in a delegator's name: its own serials and other delegates' are elsewhere
			serial = string(agency.USCC.OrganisationCode()) + serial
		}
		var err error
		if v.Identifier, err = model.NewLicenceID(model.LicenceIDParts{Type: string(v.Type), Issuer: string(v.Issuer), Serial: serial, Version: 1}); err != nil {
			return err
		}
	}
	t, err := w.seal(op, d, v)
	if err != nil {
		return err
	}
	signed, err := w.sign(agency, v)
	if err != nil {
		return err
	}
	if err := v.Check(); err != nil {
		return err
	}
	if err := t.CheckFace(v); err != nil {
		return err
	}
	if err := w.claim(op, v); err != nil {
		return err
	}
	w.in.pending.signed(op.ID, signed)
	if op.Body, err = b.EncodeBody(); err != nil {
		return err
	}
	return model.Guard(op.Body, &b)
}

// serialText writes a record's serial as an identifier's: at least seven digits, so that identifiers of
// one agency sort and read alike. docs/spec/licence.md fixes the rule.
func serialText(n uint64) string {
	b := [20]byte{}
	i := len(b)
	for n > 0 || len(b)-i < 7 {
		i--
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return string(b[i:])
}

// claim reserves what must be unique at its owner's node. It claims among what is on its way first and
// looks in the records then: an operation that is committed in between gives up its claim only after the
// records know it.
func (w *work) claim(op *model.Operation, v *model.Licence) error {
	if !w.in.pending.claim(claimKeys(v), op.ID) {
		return model.E(model.CodeNumberTaken, "value.number")
	}
	w.claimed = append(w.claimed, op.ID)
	taken, err := w.in.Ledger.Claimed(v.Identifier, v.Type, v.Number)
	if err != nil {
		return err
	}
	if taken {
		return model.E(model.CodeNumberTaken, "value.number")
	}
	return w.newFile(nil, v.File)
}

// newFile refuses the digest of a file that any licence ever had: it would speak for two.
func (w *work) newFile(was, is *model.FileDigest) error {
	if is == nil || (was != nil && *was == *is) {
		return nil
	}
	taken, err := w.in.Ledger.ClaimedFile(is.SHA256, is.SM3)
	if err == nil && taken {
		err = model.E(model.CodeNumberTaken, "value.file")
	}
	return err
}

// claimKeys names what a new licence must have for itself.
func claimKeys(v *model.Licence) []string {
	keys := []string{"i/" + string(v.Identifier), "n/" + string(v.Type) + "/" + v.Number}
	if v.File != nil {
		keys = append(keys, "f/"+v.File.SHA256.String(), "f/"+v.File.SM3.String())
	}
	return keys
}

// newClaims names what an amendment takes beyond what the licence had.
func newClaims(was, is *model.Licence) []string {
	var keys []string
	for _, k := range claimKeys(is) {
		if !slices.Contains(claimKeys(was), k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// seal commits to the confidential body and keeps it for the vault.
func (w *work) seal(op *model.Operation, d *model.Draft, v *model.Licence) (*model.LicenceType, error) {
	t, err := w.in.Ledger.LicenceType(v.Type)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, model.E(model.CodeTypeUnknown, "value.type")
	}
	if d.Confidential == nil {
		return t, nil
	}
	c := d.Confidential
	if v.HolderKind.Personal() {
		// Taken over unchecked is only what does not check: the mark says no more than is so.
		if v.HolderKind.Checks(c.HolderCode) == (v.Legacy != "") {
			return nil, model.E(v.HolderKind.Fault(), "confidential.holder_code")
		}
	} else if c.HolderCode != "" || c.HolderName != "" {
		return nil, model.E(model.CodeBadValue, "confidential.holder_code")
	}
	for name, x := range c.Face {
		f, ok := t.Face[name]
		if !ok {
			return nil, model.E(model.CodeUndeclaredField, "confidential.face."+name)
		}
		if f.Visibility != model.Confidential {
			return nil, model.E(model.CodeBadValue, "confidential.face."+name).With("the field is public")
		}
		if err := f.CheckValue("confidential.face."+name, x); err != nil {
			return nil, err
		}
	}
	// A request that is repeated under its key after an unclear failure may be on the disk already: it keeps
	// the salts that its first attempt drew.
	drawn, err := w.in.Vault.Openings(op.ID)
	if err != nil {
		return nil, err
	}
	commitments, openings, err := vault.Seal(c, drawn)
	if err != nil {
		return nil, err
	}
	if v.Commitments == nil {
		v.Commitments = map[string]model.Digest{}
	}
	for field, digest := range commitments {
		v.Commitments[field] = digest
	}
	w.sealed = append(w.sealed, vault.Item{Operation: op.ID, Openings: openings})
	return t, nil
}

// sign signs with the agency's newest active key that this node holds, or checks the signature supplied. It
// returns the key that verifies the signature.
func (w *work) sign(agency *model.Agency, v *model.Licence) (by Signature, err error) {
	message, err := v.SigningBytes()
	if err != nil {
		return by, err
	}
	if s := v.Signature; s != nil && s.Value != "" {
		k, ok := agency.ActiveKey(s.Key)
		if !ok || k.Alg != s.Alg {
			return by, model.E(model.CodeKeyUnknown, "value.signature.key")
		}
		public, err := k.PublicBytes()
		if err != nil {
			return by, model.E(model.CodeInternal).Because(err)
		}
		sig, err := base64.RawURLEncoding.Strict().DecodeString(s.Value)
		if err != nil || envelope.Verify(envelope.Alg(k.Alg), public, message, sig) != nil {
			return by, model.E(model.CodeSignatureInvalid, "value.signature")
		}
		return Signature{Alg: k.Alg, Public: string(public)}, nil
	}
	for i := len(agency.Keys) - 1; i >= 0; i-- {
		k := agency.Keys[i]
		if k.Retired {
			continue
		}
		signer, ok := w.in.Keys.Signer(agency.ID, k.ID)
		if !ok {
			continue
		}
		sig, err := signer.Sign(message)
		if err != nil {
			return by, model.E(model.CodeInternal).Because(err)
		}
		v.Signature = &model.Signature{Alg: k.Alg, Key: k.ID, Value: base64.RawURLEncoding.EncodeToString(sig)}
		return Signature{Alg: k.Alg, Public: string(signer.Public())}, nil
	}
	return by, model.E(model.CodeKeyUnknown, "value.signature").With("this node holds no active signing key of the agency")
}
