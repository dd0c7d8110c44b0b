package importer

import (
	"crypto/sha256"
	"strconv"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// uscc reads an enterprise's code. Zeros that a spreadsheet took from its head come back where both check
// digits prove them. One that does not check goes in only as taken over unchecked, where that was asked for.
func (r *rowCheck) uscc(field string, v *model.Licence) model.USCC {
	code, ok := r.code(field)
	if !ok {
		return ""
	}
	u, err := model.ParseUSCC(code)
	if err != nil && len(code) < 18 && len(code) > 12 && digits(code) {
		if u, err = model.ParseUSCC(strings.Repeat("0", 18-len(code)) + code); err == nil {
			r.note(field, NoteLeadingZeros, "")
		}
	}
	switch {
	case err == nil:
	case r.c.legacy && code != "" && len(code) <= 64 && !model.HoldsPersonalIdentifier(code):
		v.Legacy = code
		r.note(field, NoteLegacy, "")
	default:
		r.fault(field, model.CodeBadUSCC, "")
	}
	return u
}

// document reads a person's number, of the kind of document that the row names.
func (r *rowCheck) document(kind model.HolderKind, v *model.Licence) string {
	const field = "holder_code"
	code, ok := r.code(field)
	if ok {
		r.among(field)
	}
	if !ok || kind.Checks(code) {
		return code
	}
	old := kind == model.HolderPerson && citizen18(code) != ""
	switch {
	case code == "":
		r.fault(field, model.CodeMissingField, "")
	case r.c.legacy && len(code) <= 64:
		v.Legacy = model.LegacyConfidential
		if old {
			r.note(field, NoteOldCitizenID, "")
		} else {
			r.note(field, NoteLegacy, "")
		}
	case old:
		r.fault(field, OldCitizenID, "")
	default:
		r.fault(field, kind.Fault(), "")
	}
	return code
}

// citizen18 is the number of eighteen digits that replaced one of fifteen, "" where that holds no date. It
// serves to find a holder twice and is never stored: nothing proves that it was ever given.
func citizen18(s string) string {
	if len(s) != 15 || !digits(s) {
		return ""
	}
	for _, check := range "0123456789X" {
		if id := s[:6] + "19" + s[6:] + string(check); model.HolderPerson.Checks(id) {
			return id
		}
	}
	return ""
}

// duplicates finds a number, or a holder where one licence is all that a holder has, that an earlier good
// row had.
func (c *checker) duplicates(row *Row, r *rowCheck) {
	holder := string(row.holder)
	if row.person {
		holder = row.Draft.Confidential.HolderCode
		if id := citizen18(holder); id != "" {
			holder = id
		}
	} else if row.holder == "" {
		holder = row.legacy
	}
	sum := sha256.Sum256([]byte(row.number))
	key := [12]byte(sum[:12])
	who := sha256.Sum256([]byte(holder + "\x00" + row.name))
	at := place{row.Line, [8]byte(who[:8])}
	if was, ok := c.seen[key]; ok {
		code := DuplicateNumber
		if was.holder == at.holder {
			code = DuplicateRow
		}
		r.fault("number", code, strconv.Itoa(was.line))
		return
	}
	if c.m.OnePerHolder {
		sum := sha256.Sum256([]byte(holder))
		k := [12]byte(sum[:12])
		if line, ok := c.held[k]; ok {
			r.fault("holder_code", DuplicateHolder, strconv.Itoa(line))
			return
		}
		c.held[k] = row.Line
	}
	c.seen[key] = at
}
