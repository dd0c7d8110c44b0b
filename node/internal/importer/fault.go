package importer

import (
	"fmt"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Codes of faults that only a file can have. All others are the model's.
const (
	BadQuotes       model.Code = "bad_quotes"
	RowTooLong      model.Code = "row_too_long"
	ColumnCount     model.Code = "column_count"
	DuplicateRow    model.Code = "duplicate_row"
	DuplicateNumber model.Code = "duplicate_number"
	DuplicateHolder model.Code = "duplicate_holder"
	AgencyUnmapped  model.Code = "agency_unmapped"
)

var ownTexts = map[model.Code][2]string{
	BadQuotes:       {"引号不配对", "quotes that do not match"},
	RowTooLong:      {"该行超过 64 KiB", "the row is longer than 64 KiB"},
	ColumnCount:     {"列数与表头不符", "the number of columns differs from the header's"},
	DuplicateRow:    {"与前面的行重复", "the same licence stands in an earlier row"},
	DuplicateNumber: {"证照编号与前面的行相同，持证主体不同", "an earlier row gives this number to another holder"},
	DuplicateHolder: {"持证主体在前面的行已出现，而此类证照每主体只有一份", "an earlier row has this holder, who can have only one such licence"},
	AgencyUnmapped:  {"映射表中没有对应的发证机关", "the map's agency table has no entry for these values"},
}

// Fault is one thing that is wrong with one row. It holds no value of the row, which may be personal.
type Fault struct {
	Line   int        `json:"line"`   // in the file, counting from 1; the header is line 1
	Column string     `json:"column"` // as the header names it, "" for the whole row
	Code   model.Code `json:"code"`
	Detail string     `json:"detail,omitempty"`
}

// Zh is the Chinese sentence.
func (f Fault) Zh() string { return f.text(0, model.E(f.Code).Zh()) }

// En is the English sentence.
func (f Fault) En() string { return f.text(1, model.E(f.Code).En()) }

func (f Fault) text(lang int, known string) string {
	if t, ok := ownTexts[f.Code]; ok {
		known = t[lang]
	}
	if known == "" {
		known = string(f.Code)
	}
	if f.Detail == "" {
		return known
	}
	if lang == 0 {
		return known + "（" + f.Detail + "）"
	}
	return known + " (" + f.Detail + ")"
}

func (f Fault) String() string {
	return fmt.Sprintf("line %d, column %q: %s: %s", f.Line, f.Column, f.Code, f.En())
}

// faultOf makes a fault of an error about a field of a draft, naming the column that the field came from.
func (m *Map) faultOf(line int, e *model.Error) Fault {
	field := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(e.Field, "body."), "value."), "confidential.")
	f := Fault{Line: line, Code: e.Code, Detail: e.Detail}
	if _, ok := m.Fields[field]; ok {
		f.Column = m.origin(field)
	} else if field == "agency" || field == "under" || field == "region" {
		f.Column = strings.Join(m.Agency.columns(), ", ")
	}
	if !f.Code.Known() && f.Detail == "" {
		f.Detail = e.En()
	}
	return f
}

// columnOf is the column that a node's refusal is about, as far as the code tells.
func (m *Map) columnOf(code model.Code) string {
	switch code {
	case model.CodeNumberTaken:
		return m.origin("number")
	case model.CodeForbidden, model.CodeNotActingFor, model.CodeAgencyUnknown, model.CodeAgencyNotActive, model.CodeNotIssuer,
		model.CodeKeyUnknown, model.CodeTypeNotPermitted, model.CodeDelegationUnknown, model.CodeDelegationNotValid, model.CodeRegionNotPermitted:
		return strings.Join(m.Agency.columns(), ", ")
	}
	return ""
}
