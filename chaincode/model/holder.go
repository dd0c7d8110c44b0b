package model

import (
	"encoding/json"
	"strings"
)

// HolderKind is the holder's code type (持证主体代码类型): that of enterprises, and the types of identity documents of
// natural persons (GA/T 517, 常用证件代码).
type HolderKind string

// Holder kinds that are in use. The passport and the permits are known from contract level 2 on.
const (
	HolderEnterprise HolderKind = "001" // 统一社会信用代码; public
	HolderPerson     HolderKind = "111" // 居民身份证; confidential and committed to, as all that follow
	HolderPassport   HolderKind = "414" // 普通护照
	HolderTaiwan     HolderKind = "511" // 台湾居民来往大陆通行证
	HolderHongKong   HolderKind = "516" // 港澳居民来往内地通行证
	HolderResident   HolderKind = "553" // 外国人永久居留身份证
	HolderResidence  HolderKind = "554" // 外国人居留证
)

// holderKinds says of each kind how its codes are written.
var holderKinds = map[HolderKind]func(string) bool{
	HolderEnterprise: func(s string) bool { _, err := ParseUSCC(s); return err == nil },
	HolderPerson:     func(s string) bool { _, err := ParseCitizenID(s); return err == nil },
	HolderPassport:   func(s string) bool { return len(s) >= 5 && len(s) <= 17 && shaped(s, "*") },
	// Eight digits; of the older form ten, with a letter for a replacement.
	HolderTaiwan: func(s string) bool {
		return shaped(s, "99999999") || shaped(s, "9999999999") || shaped(s, "9999999999A")
	},
	// H or M and eight digits; of the older form two more, that count replacements.
	HolderHongKong: func(s string) bool {
		return s != "" && (s[0] == 'H' || s[0] == 'M') && (shaped(s[1:], "99999999") || shaped(s[1:], "9999999999"))
	},
	// Three letters and twelve digits; since 2023 eighteen digits, the first a 9, that check as a citizen's number does.
	HolderResident: func(s string) bool {
		_, err := ParseCitizenID(s)
		return shaped(s, "AAA999999999999") || err == nil && s[0] == '9'
	},
	HolderResidence: func(s string) bool { return len(s) >= 5 && len(s) <= 18 && shaped(s, "*") },
}

// shaped reports whether s is written as the form: 9 a digit, A a letter; "*" is any of both.
func shaped(s, form string) bool {
	if form != "*" && len(s) != len(form) {
		return false
	}
	for i := 0; i < len(s); i++ {
		digit, letter := s[i] >= '0' && s[i] <= '9', s[i] >= 'A' && s[i] <= 'Z'
		if form == "*" && !digit && !letter || form != "*" && (form[i] == '9' && !digit || form[i] == 'A' && !letter) {
			return false
		}
	}
	return true
}

// Known reports whether k is a holder kind.
func (k HolderKind) Known() bool { return holderKinds[k] != nil }

// Personal reports whether holders of the kind are natural persons, whose code and name are confidential.
func (k HolderKind) Personal() bool { return k.Known() && k != HolderEnterprise }

// Checks reports whether a code is one of the kind: its check digits where there are any, its form where not.
func (k HolderKind) Checks(code string) bool { return k.Known() && holderKinds[k](code) }

// Fault is the code under which a holder's code of the kind is refused.
func (k HolderKind) Fault() Code {
	switch k {
	case HolderEnterprise:
		return CodeBadUSCC
	case HolderPerson:
		return CodeBadCitizenID
	}
	return CodeBadHolderCode
}

// LegacyConfidential is what Licence.Legacy says of a person, whose code stands as a commitment.
const LegacyConfidential = "confidential"

// checkLegacy holds the mark of a licence that was taken over with a holder's code that does not check.
func (l *Licence) checkLegacy() error {
	switch {
	case l.Legacy == "":
		return nil
	case l.HolderKind.Personal():
		if l.Legacy != LegacyConfidential {
			return E(CodeConfidentialField, "value.legacy")
		}
		return nil
	}
	if l.HolderKind.Checks(strings.ToUpper(l.Legacy)) {
		return E(CodeBadValue, "value.legacy").With("the code checks: it needs no mark")
	}
	return checkLine("value.legacy", l.Legacy, 1, 64)
}

// legacyFollows holds an amendment to the mark: it stays as it is until a correction that gives the holder another, good code
// takes it off, and no amendment sets it.
func (l *Licence) legacyFollows(was *Licence, how AmendKind) error {
	switch {
	case l.Legacy == was.Legacy:
		return nil
	case l.Legacy == "" && how == Correct:
		if l.HolderKind.Personal() && l.Commitments[FieldHolderCode] == was.Commitments[FieldHolderCode] {
			break // the code that did not check is still committed to
		}
		return nil
	}
	return E(CodeBadValue, "value.legacy").With("the mark stays until a correction gives the holder's code")
}

// Below says what contracts of a level say of a body that they do not know in full, and err where they do: a contract
// that runs at that level answers as those would. body and err are what DecodeBody gave.
func Below(level int, op *Operation, body any, err error) error {
	if level >= 2 {
		return err
	}
	if err != nil { // those stop at a field that they do not know before they check any other
		if body, e := undecided(op); e == nil {
			if e := unknownLegacy(op, body); e != nil {
				return e
			}
		}
		return err
	}
	if e := unknownLegacy(op, body); e != nil {
		return e
	}
	values, _ := licencesOf(body)
	for _, l := range values {
		if k := l.HolderKind; k != HolderEnterprise && k != HolderPerson {
			return E(CodeBadValue, "value.holder_kind")
		}
	}
	var kinds []HolderKind
	switch b := body.(type) {
	case *ProposeBody:
		if b.Kind == KindLicenceType {
			kinds = kindsOf(b.Value)
		}
	case *EnactBody:
		if op.Kind == KindLicenceType {
			kinds = kindsOf(b.Value)
		}
	}
	for _, k := range kinds {
		if k != HolderEnterprise && k != HolderPerson {
			return E(CodeBadValue, "value.holder_kinds")
		}
	}
	return nil
}

func unknownLegacy(op *Operation, body any) error {
	values, names := licencesOf(body)
	for i, l := range values {
		if l.Legacy == "" {
			continue
		}
		if textsPersonal(op.Body) {
			return E(CodePersonalIdentifier, "body")
		}
		return E(CodeUnknownField, names[i]+".legacy")
	}
	return nil
}

// licencesOf are the licences of a body and their names in it.
func licencesOf(body any) ([]*Licence, []string) {
	switch b := body.(type) {
	case *IssueBody:
		return []*Licence{&b.Value}, []string{"value"}
	case *AmendBody:
		return []*Licence{&b.Previous, &b.Value}, []string{"previous", "value"}
	case *TransferBody:
		return []*Licence{&b.Value}, []string{"value"}
	}
	return nil, nil
}

// kindsOf are a licence type's holder kinds. The value has been decoded whole before.
func kindsOf(raw json.RawMessage) []HolderKind {
	var t struct {
		Kinds []HolderKind `json:"holder_kinds"`
	}
	_ = json.Unmarshal(raw, &t)
	return t.Kinds
}
