package model

import (
	"encoding/json"
	"sort"
	"strings"
)

// Licence is the public value of an electronic licence (电子证照). The comments name the metadata's
// Chinese short names (docs/spec/licence.md has the table).
//
// Of a person's licence, holder code and name are absent here and stand as commitments.
type Licence struct {
	Commitments map[string]Digest `json:"commitments,omitempty" zl:"public,digest"` // confidential field → commitment (commitment.go)
	Face        map[string]any    `json:"face" zl:"public,text"`                    // KZ_*: public face fields, as the type's schema has them
	File        *FileDigest       `json:"file,omitempty" zl:"public"`               // of the licence file
	HolderCode  USCC              `json:"holder_code" zl:"public,uscc"`             // CZZTDM
	HolderKind  HolderKind        `json:"holder_kind" zl:"public,code"`             // CZZTDMLXDM
	HolderName  string            `json:"holder_name" zl:"public,text"`             // CZZT
	Identifier  LicenceID         `json:"identifier" zl:"public,identifier"`        // ZZBS
	IssuedOn    Date              `json:"issued_on" zl:"public,date"`               // ZZBFRQ
	Issuer      USCC              `json:"issuer" zl:"public,uscc"`                  // ZZBFJGDM
	Legacy      string            `json:"legacy,omitempty" zl:"public,text"`        // of a licence taken over unchecked: the holder's code as the old list has it (holder.go)
	Number      string            `json:"number" zl:"public,text"`                  // ZZBH
	Region      Region            `json:"region" zl:"public,code"`
	Signature   *Signature        `json:"signature,omitempty" zl:"public"` // 签章 over SigningBytes
	Type        TypeCode          `json:"type" zl:"public,typecode"`       // ZZLXDM
	ValidFrom   Date              `json:"valid_from" zl:"public,date"`     // ZZYXQQSRQ
	ValidUntil  Date              `json:"valid_until" zl:"public,date"`    // ZZYXQJZRQ; "" is 长期
}

func (*Licence) whole() {}

// FileDigest identifies the licence's file. Sealed states that the file carries an electronic seal or
// signature, whose bits nobody can guess; without it a digest would confirm a guessed content and is
// refused. An unsealed file's digest can be committed to as the confidential field "file".
type FileDigest struct {
	Sealed bool   `json:"sealed" zl:"public,flag"`
	SHA256 Digest `json:"sha256" zl:"public,digest"`
	SM3    Digest `json:"sm3" zl:"public,digest"`
}

// Signature is a signature (签章) by a key that the registry lists for the issuing agency.
type Signature struct {
	Alg   string `json:"alg" zl:"public,code"`        // ES256, ES256K, SM2
	Key   string `json:"key" zl:"public,text"`        // key id in the registry
	Value string `json:"value" zl:"public,signature"` // base64url without padding, 64 bytes r‖s
}

// SigningBytes is what a licence's signature covers: the domain line and the canonical value without the
// signature. See docs/spec/signatures.md.
func (l Licence) SigningBytes() ([]byte, error) {
	l.Signature = nil
	return l.AppendCanonical([]byte(signingDomain))
}

const signingDomain = "zhenglian licence v1\n"

// Lengths of free texts, in characters.
const (
	MaxName   = 200
	MaxText   = 4000
	MaxFields = 64
)

// Check refuses a value that cannot be right whatever its type's schema says.
func (l *Licence) Check() error {
	id := l.Identifier.Parts()
	switch {
	case l.Identifier == "":
		return E(CodeMissingField, "value.identifier")
	case l.Type == "":
		return E(CodeMissingField, "value.type")
	case l.Issuer == "":
		return E(CodeMissingField, "value.issuer")
	case l.Region == "":
		return E(CodeMissingField, "value.region")
	case l.IssuedOn == "":
		return E(CodeMissingField, "value.issued_on")
	case l.Signature == nil:
		return E(CodeMissingField, "value.signature")
	case id.Type != string(l.Type) || id.Issuer != string(l.Issuer):
		return E(CodeBadIdentifier, "value.identifier").With("its type and issuer differ from the licence's")
	case len(l.Face)+len(l.Commitments) > MaxFields:
		return E(CodeTooMany, "value.face")
	}
	if err := checkLine("value.number", l.Number, 1, 64); err != nil {
		return err
	}
	if l.ValidFrom == "" {
		return E(CodeMissingField, "value.valid_from")
	}
	if l.ValidUntil != "" && l.ValidUntil < l.ValidFrom {
		return E(CodeBadDate, "value.valid_until")
	}
	switch {
	case l.HolderKind == HolderEnterprise:
		if l.HolderCode == "" && l.Legacy == "" {
			return E(CodeMissingField, "value.holder_code")
		}
		if l.HolderCode != "" && l.Legacy != "" {
			return E(CodeBadValue, "value.legacy").With("the holder's code stands")
		}
		if err := checkLine("value.holder_name", l.HolderName, 1, MaxName); err != nil {
			return err
		}
	case l.HolderKind.Personal():
		if l.HolderCode != "" || l.HolderName != "" {
			return E(CodeConfidentialField, "value.holder_code")
		}
		for _, f := range []string{FieldHolderCode, FieldHolderName} {
			if l.Commitments[f].IsZero() {
				return E(CodeMissingField, "value.commitments."+f)
			}
		}
	default:
		return E(CodeBadValue, "value.holder_kind")
	}
	if err := l.checkLegacy(); err != nil {
		return err
	}
	if l.File != nil && !l.File.Sealed {
		return E(CodeFileDigestUnsafe, "value.file")
	}
	return l.Signature.check("value.signature")
}

func (s *Signature) check(field string) error {
	switch s.Alg {
	case "ES256", "ES256K", "SM2":
	default:
		return E(CodeBadValue, field+".alg").OneOf(algorithms...)
	}
	if err := checkLine(field+".key", s.Key, 1, 64); err != nil {
		return err
	}
	if !signatureText(s.Value) {
		return E(CodeSignatureInvalid, field+".value")
	}
	return nil
}

// signatureText reports whether s writes 64 bytes in base64url without padding, in the one way there is.
func signatureText(s string) bool {
	if len(s) != 86 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return strings.IndexByte("AQgw", s[85]) >= 0 // the last character carries two bits
}

// IssueBody is the body of licence.issue. Under names the delegation that the issuer acts under, where
// the type does not list it as an issuer itself.
type IssueBody struct {
	Under RecordID `json:"under" zl:"public,id"`
	Value Licence  `json:"value" zl:"public"`
}

func (b *IssueBody) check() error { return b.Value.Check() }

func (b *IssueBody) step(_ Header, op *Operation, e *Effect) error {
	if b.Value.Identifier.Parts().Version != 1 {
		return E(CodeIdentifierVersion, "value.identifier")
	}
	return b.Value.set(op, e)
}

// set makes the value of op's body the record's value.
func (l *Licence) set(op *Operation, e *Effect) error {
	e.Value = bodyMember(op.Body, "value")
	if e.Value == nil {
		return E(CodeMissingField, "value")
	}
	e.Header.From, e.Header.Until = l.ValidFrom, l.ValidUntil
	return nil
}

// bodyMember cuts a value out of a canonical body as it stands there, nil where it is absent: digests are
// of the bytes that were sent.
func bodyMember(body json.RawMessage, name string) []byte {
	c := checker{in: body, at: 1}
	for c.at < len(c.in) && c.in[c.at] == '"' {
		key, ok := c.text()
		if !ok || !c.take(':') {
			return nil
		}
		from := c.at
		if !c.skip() {
			return nil
		}
		if string(key) == name {
			return body[from:c.at:c.at]
		}
		c.take(',')
	}
	return nil
}

// Decision is the legal act behind an operation.
type Decision struct {
	Date   Date   `json:"date" zl:"public,date"`
	Number string `json:"number" zl:"public,text"`
}

// Act is what every act on an issued licence says.
type Act struct {
	Decision  Decision `json:"decision" zl:"public"`
	Effective Date     `json:"effective" zl:"public,date"` // first day of its legal effect
	Reason    string   `json:"reason" zl:"public,text"`    // reason code, a–z, 0–9, hyphen
}

func (a Act) check() error {
	if a.Decision.Date == "" {
		return E(CodeMissingField, "decision.date")
	}
	if a.Effective == "" {
		return E(CodeMissingField, "effective")
	}
	if err := checkLine("decision.number", a.Decision.Number, 1, 100); err != nil {
		return err
	}
	if !shortID(a.Reason) {
		return E(CodeBadValue, "reason").With("%s", shortIDForm)
	}
	return nil
}

// ActBody is the body of the acts that change a licence's state. FromStart, for rescind only, voids the
// licence from its first day.
type ActBody struct {
	Act
	FromStart bool `json:"from_start" zl:"public,flag"`
}

func (b *ActBody) step(h Header, op *Operation, e *Effect) error {
	if b.FromStart && op.Type != LicenceRescind {
		return E(CodeBadValue, "from_start").OneOf(string(LicenceRescind))
	}
	e.Header.Effective = b.Effective
	if b.FromStart {
		e.Header.Effective = h.From
	}
	return nil
}

// AmendBody is the body of licence.amend and licence.renew: the whole new value and, because state holds
// only its digest, the value that it replaces.
type AmendBody struct {
	Act
	How      AmendKind `json:"how" zl:"public,code"` // amend only
	Previous Licence   `json:"previous" zl:"public"`
	Value    Licence   `json:"value" zl:"public"`
}

// AmendKind says whether an amendment rights an error, as from the start (更正), or follows a change of
// facts, from its effective day (变更).
type AmendKind string

// The two kinds; "" for renew.
const (
	Correct  AmendKind = "correct"
	ChangeOf AmendKind = "change"
)

func (b *AmendBody) check() error {
	if err := b.Act.check(); err != nil {
		return err
	}
	if err := b.Value.Check(); err != nil {
		return err
	}
	return b.Previous.Check()
}

func (b *AmendBody) step(h Header, op *Operation, e *Effect) error {
	if DigestOf(bodyMember(op.Body, "previous")) != h.Value {
		return E(CodeValueMismatch, "previous")
	}
	was, is := b.Previous.Identifier.Parts(), b.Value.Identifier.Parts()
	if is.Version != was.Version+1 || is.Serial != was.Serial || is.Type != was.Type || is.Issuer != was.Issuer {
		return E(CodeIdentifierVersion, "value.identifier")
	}
	if b.Value.HolderKind != b.Previous.HolderKind {
		return E(CodeBadValue, "value.holder_kind")
	}
	if err := b.Value.legacyFollows(&b.Previous, b.How); err != nil {
		return err
	}
	renew := op.Type == LicenceRenew
	switch {
	case renew && b.How != "":
		return E(CodeBadValue, "how")
	case !renew && b.How != Correct && b.How != ChangeOf:
		return E(CodeBadValue, "how").OneOf(string(Correct), string(ChangeOf))
	case renew && b.Previous.ValidUntil == "":
		return E(CodeBadValue, "value.valid_until").With("a licence without end is not renewed")
	case renew && b.Value.ValidUntil != "" && b.Value.ValidUntil <= b.Previous.ValidUntil:
		return E(CodeBadDate, "value.valid_until")
	}
	return b.Value.set(op, e)
}

// TransferBody is the body of licence.transfer (迁移). Value is the public value as it stands, by which the
// contract sees whether the receiving agency may hold such a licence.
type TransferBody struct {
	Act
	To    AgencyID `json:"to" zl:"public,id"`
	Value Licence  `json:"value" zl:"public"`
}

func (b *TransferBody) check() error {
	if err := b.Act.check(); err != nil {
		return err
	}
	return b.Value.Check()
}

func (b *TransferBody) step(h Header, op *Operation, e *Effect) error {
	if b.To == "" || b.To == h.Owner {
		return E(CodeBadValue, "to")
	}
	if DigestOf(bodyMember(op.Body, "value")) != h.Value {
		return E(CodeValueMismatch, "value")
	}
	e.Header.Owner = b.To
	return nil
}

// CheckFace holds the licence against its type: holder kind allowed, every face field declared, public
// ones in Face and confidential ones committed to, values within the schema, required ones present.
func (t *LicenceType) CheckFace(l *Licence) error {
	allowed := false
	for _, k := range t.HolderKinds {
		allowed = allowed || k == l.HolderKind
	}
	if !allowed {
		return E(CodeHolderNotPermitted, "value.holder_kind")
	}
	err := each(l.Face, func(name string, v any) error {
		f, ok := t.Face[name]
		if !ok {
			return E(CodeUndeclaredField, "value.face."+name)
		}
		if f.Visibility == Confidential {
			return E(CodeConfidentialField, "value.face."+name)
		}
		return f.CheckValue("value.face."+name, v)
	})
	if err != nil {
		return err
	}
	err = each(l.Commitments, func(name string, _ Digest) error {
		switch f, ok := t.Face[name]; {
		case name == FieldHolderCode || name == FieldHolderName:
			if !l.HolderKind.Personal() {
				return E(CodeBadValue, "value.commitments."+name)
			}
		case name == FieldFile:
		case !ok:
			return E(CodeUndeclaredField, "value.commitments."+name)
		case f.Visibility != Confidential:
			return E(CodeBadValue, "value.commitments."+name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return each(t.Face, func(name string, f FaceField) error {
		if _, public := l.Face[name]; f.Required && !public && l.Commitments[name].IsZero() {
			return E(CodeMissingField, "value.face."+name)
		}
		return nil
	})
}

// each checks a map's members and returns the error of the first in order: a refusal names its field, and
// endorsers must answer alike. The usual map has no error and is not sorted.
func each[V any](m map[string]V, check func(name string, v V) error) error {
	for name, v := range m {
		if check(name, v) == nil {
			continue
		}
		for _, name := range sortedKeys(m) {
			if err := check(name, m[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// FaceNames lists a type's face fields in order.
func (t *LicenceType) FaceNames() []string {
	names := make([]string, 0, len(t.Face))
	for n := range t.Face {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
