package importer

import (
	"fmt"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Codes of faults that only a file can have. All others are the model's.
const (
	BadQuotes       model.Code = "bad_quotes"
	BadJSON         model.Code = "bad_json"
	RowTooLong      model.Code = "row_too_long"
	ColumnCount     model.Code = "column_count"
	DuplicateRow    model.Code = "duplicate_row"
	DuplicateNumber model.Code = "duplicate_number"
	DuplicateHolder model.Code = "duplicate_holder"
	AgencyUnmapped  model.Code = "agency_unmapped"
	EndsFirst       model.Code = "ends_before_it_begins"
	IssuedAhead     model.Code = "issued_in_the_future"
	SerialDate      model.Code = "serial_date"
	DamagedNumber   model.Code = "damaged_number"
	DamagedDate     model.Code = "damaged_date"
	FormulaCell     model.Code = "formula_cell"
	BrokenCell      model.Code = "broken_cell"
	MergedCell      model.Code = "merged_cell"
	NestedValue     model.Code = "nested_value"
	OldCitizenID    model.Code = "old_citizen_id"
	AlreadyEnded    model.Code = "already_ended"
	EndedSince      model.Code = "ended_since"
	FormulaText     model.Code = "formula_text"
	NumberCell      model.Code = "number_cell" // a note, unless the map refuses it
)

// Codes of notes: the row goes in, and whoever answers for it may want to look.
const (
	NoteLeadingZeros model.Code = "leading_zeros"
	NoteSerialDay    model.Code = "serial_day"
	NoteInvisible    model.Code = "invisible_characters"
	NotePrivateUse   model.Code = "private_use"
	NoteLegacy       model.Code = "legacy_unchecked"
	NoteOldCitizenID model.Code = "legacy_citizen_id"
)

var ownTexts = map[model.Code][2]string{
	BadQuotes:       {"引号不配对", "quotes that do not match"},
	BadJSON:         {"不是一个 JSON 对象，或成员重复", "the line is no JSON object, or names a member twice"},
	RowTooLong:      {"该行超过 64 KiB", "the row is longer than 64 KiB"},
	ColumnCount:     {"列数与表头不符", "the number of columns differs from the header's"},
	DuplicateRow:    {"与前面的行重复", "the same licence stands in an earlier row"},
	DuplicateNumber: {"证照编号与前面的行相同，持证主体的代码或名称不同", "an earlier row has this number with another code or name of the holder"},
	DuplicateHolder: {"持证主体在前面的行已出现，而此类证照每主体只有一份", "an earlier row has this holder, who can have only one such licence"},
	AgencyUnmapped:  {"映射表中没有对应的发证机关", "the map's agency table has no entry for these values"},
	EndsFirst:       {"止期早于起期", "the end lies before the beginning"},
	IssuedAhead:     {"签发日期在未来", "the day of issue lies in the future"},
	SerialDate:      {"像是表格软件的日期序号；确是日期的，在映射中写 serial_dates: \"1900\"", "it looks like a day as a spreadsheet counts them; where it is one, the map says serial_dates: \"1900\""},
	DamagedNumber:   {"长号码已被表格软件当作数值截断（如 9.11E+17），末尾数字已丢失，请按原件重新填写并将该列设为文本", "a long number that a spreadsheet has cut (as 9.11E+17): its last digits are lost; write it anew from the original, in a column of text"},
	DamagedDate:     {"文本已被表格软件改成日期，请按原件重新填写并将该列设为文本", "a text that a spreadsheet has turned into a date: write it anew from the original, in a column of text"},
	FormulaText:     {"文本以 = + - @ 开头，表格软件打开时会当作公式执行；确是名称的，在映射中写 formula_texts: allow", "a text that a spreadsheet would run as a formula; where it is a name all the same, the map says formula_texts: allow"},
	NumberCell:      {"本列其他单元格是文本，此单元格却是数值，可能已丢失前导零或前缀，请对照原件", "a number in a column that holds texts otherwise: it may have lost zeros at its head, or what stood before it; compare it with the original"},
	FormulaCell:     {"单元格是公式，不予计算；可另存为值，或加 --cached-values 采用上次保存的结果", "the cell is a formula and is never computed: save it as a value, or take the stored result with --cached-values"},
	BrokenCell:      {"单元格是错误值", "the cell holds a spreadsheet's error"},
	MergedCell:      {"单元格属于合并单元格，无法确定其值是否适用于本行，请取消合并后逐行填写", "the cell is part of a merged one, and whether its value is this row's nobody can say: unmerge it and fill in every row"},
	NestedValue:     {"值是对象或数组", "the value is an object or a list"},
	OldCitizenID:    {"15 位旧身份证号没有校验位，请填 18 位号码；或加 --legacy 作为未校验的旧数据迁入", "an old identity number of 15 digits has no check digit: write that of 18, or take it over unchecked with --legacy"},
	AlreadyEnded:    {"证照已终止（状态列），不签发", "the licence has ended, says the column of states: it is not issued"},
	EndedSince:      {"此前导入签发的该证照已经终止，不重新签发；确需签发请改用 licence issue", "an earlier import issued this licence and it has ended since: it is not issued anew; where it has to be, use licence issue"},

	model.CodeBadDate: {"日期不存在，或不是映射所列的写法", "the date does not exist, or is in no writing that the map allows"},

	NoteLeadingZeros: {"补回了丢失的前导零", "lost leading zeros were put back"},
	NoteSerialDay:    {"数值按表格的日期序号读作日期", "a number was read as a day of the spreadsheet's calendar"},
	NoteInvisible:    {"去掉了不可见字符", "characters that nobody sees were left out"},
	NoteLegacy:       {"持证主体代码未通过校验，作为旧数据迁入；更正之前核验结果为无法判定", "the holder's code does not check and is taken over as it is: the verdict is undetermined until it is corrected"},
	NoteOldCitizenID: {"15 位旧身份证号，作为旧数据迁入；更正之前核验结果为无法判定", "an old identity number of 15 digits, taken over as it is: the verdict is undetermined until it is corrected"},
	NotePrivateUse:   {"含自造字（私用区字符），其他系统可能无法显示", "holds characters of private use, which other systems may not show"},
}

// Fault is one thing that is wrong with one row, or (Note) worth a look. It holds no value of the row, which
// may be personal.
type Fault struct {
	Line   int        `json:"line"`           // in the file or sheet, counting from 1
	Column string     `json:"column"`         // as the header names it, "" for the whole row
	Cell   string     `json:"cell,omitempty"` // of a workbook: "C5"
	Code   model.Code `json:"code"`
	Detail string     `json:"detail,omitempty"` // that reads alike in every language: a line, what is allowed
	Note   bool       `json:"note,omitempty"`   // the row is good all the same
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
	in := f.Detail
	switch f.Code {
	case DuplicateRow, DuplicateNumber, DuplicateHolder: // it is the earlier row's line
		in = [2]string{"第 " + in + " 行", "line " + in}[lang]
	}
	if lang == 0 {
		return known + "（" + in + "）"
	}
	return known + " (" + in + ")"
}

// Where names the row, or the cell where it has a name.
func (f Fault) Where() string {
	if f.Cell != "" {
		return f.Cell
	}
	return fmt.Sprint(f.Line)
}

func (f Fault) String() string {
	return fmt.Sprintf("%s, column %q: %s: %s", f.Where(), f.Column, f.Code, f.En())
}

// fieldOf is the field of a draft that an error is about.
func fieldOf(e *model.Error) string {
	return strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(e.Field, "body."), "value."), "confidential.")
}

// columnsOf are the columns that a field comes from.
func (m *Map) columnsOf(field string) []string {
	if _, ok := m.Fields[field]; ok {
		if c := m.origin(field); c != "" {
			return []string{c}
		}
		return nil
	}
	if field == "state" {
		return []string{m.State.Column}
	}
	if field == "agency" || field == "under" || field == "region" {
		return m.Agency.columns()
	}
	return nil
}

// faultOf makes a fault of an error about a field of a draft, naming the column that the field came from.
func (m *Map) faultOf(line int, e *model.Error) Fault {
	f := Fault{Line: line, Code: e.Code, Detail: e.Detail, Column: strings.Join(m.columnsOf(fieldOf(e)), ", ")}
	if _, own := ownTexts[f.Code]; !own && !f.Code.Known() && f.Detail == "" {
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
