package httpapi

import (
	"encoding/csv"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/xuri/excelize/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

var (
	csvType  = []string{"text/csv; charset=utf-8"}
	xlsxType = []string{"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
)

const (
	maxExported   = 1<<20 - 1        // licences of an export: a sheet has so many rows and a heading
	exportsAtOnce = 2                // of the node, one of a caller
	exportWrite   = 60 * time.Second // a client that takes longer to take a part is let go
)

// exported are the columns of an export: Chinese heading, code, value.
var exported = []struct {
	zh, code string
	value    func(*sdk.FoundLicence) string
}{
	{"记录编号", "record", func(f *sdk.FoundLicence) string { return string(f.Record) }},
	{"状态", "state_name", func(f *sdk.FoundLicence) string { return exportedStates[f.State] }},
	{"状态代码", "state", func(f *sdk.FoundLicence) string { return string(f.State) }},
	{"未校验的旧数据", "legacy", func(f *sdk.FoundLicence) string {
		if f.Legacy {
			return "是，核验结果为无法判定" // whatever the state says
		}
		return ""
	}},
	{"证照类型代码", "type", func(f *sdk.FoundLicence) string { return string(f.Type) }},
	{"证照编号", "number", func(f *sdk.FoundLicence) string { return f.Number }},
	{"电子证照标识", "identifier", func(f *sdk.FoundLicence) string { return string(f.Identifier) }},
	{"持证主体", "holder_name", func(f *sdk.FoundLicence) string { return f.HolderName }},
	{"持证主体代码", "holder_code", func(f *sdk.FoundLicence) string { return f.HolderCode }},
	{"持证主体代码类型", "holder_kind", func(f *sdk.FoundLicence) string { return string(f.HolderKind) }},
	{"发证机构代码", "issuer", func(f *sdk.FoundLicence) string { return string(f.Issuer) }},
	{"管理机构", "owner", func(f *sdk.FoundLicence) string { return string(f.Owner) }},
	{"行政区划代码", "region", func(f *sdk.FoundLicence) string { return string(f.Region) }},
	{"颁发日期", "issued_on", func(f *sdk.FoundLicence) string { return string(f.IssuedOn) }},
	{"有效期起始日", "valid_from", func(f *sdk.FoundLicence) string { return string(f.ValidFrom) }},
	{"有效期截止日", "valid_until", func(f *sdk.FoundLicence) string {
		if f.ValidUntil == "" {
			return "长期"
		}
		return string(f.ValidUntil)
	}},
	{"版本", "version", func(f *sdk.FoundLicence) string { return strconv.FormatUint(f.Version, 10) }},
	{"日志位置", "position", func(f *sdk.FoundLicence) string { return strconv.FormatUint(f.Position, 10) }},
	{"更新时间", "updated", func(f *sdk.FoundLicence) string { return f.Updated.Time().In(model.Shanghai).Format(time.DateTime) }},
}

var exportedStates = map[model.State]string{
	model.InForce: "有效", model.Suspended: "暂停", model.Dormant: "歇业", model.Rescinded: "撤销", model.Withdrawn: "撤回",
	model.PenaltyRevoked: "吊销", model.Cancelled: "注销", model.VoidLost: "遗失作废",
}

// shown is a text as a cell shows it: what cannot be seen and could mislead (control characters, direction marks,
// zero-width characters) is shown to have been there.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// unformulated keeps a spreadsheet from taking a text of a CSV file for a formula.
func unformulated(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r＝＋－＠", []rune(s)[0]) {
		return "'" + s
	}
	return s
}

// sheet is a file being written. close finishes it, discard gives up what it holds.
type sheet interface {
	row(cells []string) error
	close() error
	discard()
}

var errEnough = errors.New("as many as a sheet holds")

// getSearchExport writes everything that was found. It reads the index in parts and holds nothing between them.
func (a *API) getSearchExport(x *exchange) error {
	v, err := searchValues(x.r)
	if err != nil {
		return err
	}
	format := v.Get("format")
	if format != "csv" && format != "xlsx" || len(v["format"]) > 1 {
		return model.E(model.CodeBadValue, "format").With("csv or xlsx")
	}
	v.Del("format")
	s, err := sdk.ParseLicenceSearch(v)
	if err != nil {
		return err
	}
	if !a.exports.begin(x.caller.ID()) {
		return limited{5 * time.Second}
	}
	defer a.exports.end(x.caller.ID())

	control := http.NewResponseController(x)
	var out sheet
	begin := func() error {
		if out != nil {
			return nil
		}
		h := x.Header()
		h["Content-Disposition"] = []string{`attachment; filename="licences-` + string(model.DateOf(a.now())) + "." + format + `"`}
		alive := aliveWriter{x, control}
		if format == "csv" {
			h["Content-Type"] = csvType
			out, err = newCSV(alive)
		} else {
			h["Content-Type"] = xlsxType
			out, err = newXLSX(alive, a.temporary)
		}
		return err
	}
	n := 0
	cells := make([]string, len(exported))
	err = a.search.Walk(x.r.Context(), s, x.caller.Agency(), func(f *sdk.FoundLicence) error {
		if err := begin(); err != nil {
			return err
		}
		if n++; n > maxExported {
			return errEnough
		}
		select {
		case <-a.closing:
			return model.E(model.CodeShuttingDown)
		default:
		}
		if n%1000 == 0 { // while a sheet is put together nothing is written, and the connection must not be cut for that
			_ = control.SetWriteDeadline(time.Now().Add(exportWrite))
		}
		x.touched(model.KindLicence, string(f.Record))
		for i := range exported {
			cells[i] = shown(exported[i].value(f))
		}
		return out.row(cells)
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil {
		err = begin() // an empty one has its heading too
	}
	if err == nil {
		err = out.close()
	}
	if err == nil {
		return nil
	}
	if out != nil {
		out.discard()
	}
	if x.status == 0 {
		h := x.Header()
		delete(h, "Content-Disposition")
		return err
	}
	// Part of the file is with the client: cutting the connection is the only way to say that it is not whole.
	a.log.Warn("an export was cut off", "request", x.id, "error", err)
	panic(http.ErrAbortHandler)
}

// aliveWriter gives the client time for each part that it takes.
type aliveWriter struct {
	x       *exchange
	control *http.ResponseController
}

func (w aliveWriter) Write(b []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(exportWrite)) // a connection without deadlines has none to miss
	return w.x.Write(b)
}

type csvSheet struct{ w *csv.Writer }

// newCSV begins a CSV file: UTF-8 with the mark by which Excel knows it, lines ending as RFC 4180 has them.
func newCSV(w io.Writer) (sheet, error) {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return nil, err
	}
	c := csvSheet{csv.NewWriter(w)}
	c.w.UseCRLF = true
	return c, c.row(headings())
}

func headings() []string {
	out := make([]string, len(exported))
	for i, c := range exported {
		out[i] = c.zh + " " + c.code
	}
	return out
}

func (c csvSheet) row(cells []string) error {
	safe := make([]string, len(cells))
	for i, s := range cells {
		safe[i] = unformulated(s)
	}
	return c.w.Write(safe)
}

func (c csvSheet) close() error {
	c.w.Flush()
	return c.w.Error()
}

func (c csvSheet) discard() {}

// xlsxSheet is put together on the disk as it comes, and written at the end.
type xlsxSheet struct {
	w    io.Writer
	file *excelize.File
	rows *excelize.StreamWriter
	n    int
	line []any
}

func newXLSX(w io.Writer, temporary string) (sheet, error) {
	f := excelize.NewFile(excelize.Options{TmpDir: temporary})
	s := &xlsxSheet{w: w, file: f, line: make([]any, len(exported))}
	const name = "证照 licences"
	if err := f.SetSheetName("Sheet1", name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var err error
	if s.rows, err = f.NewStreamWriter(name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for _, c := range [][3]int{{1, 6, 22}, {7, 7, 70}, {8, 8, 36}, {9, len(exported), 18}} { // columns from, to, width
		if err := s.rows.SetColWidth(c[0], c[1], float64(c[2])); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	if err := s.row(headings()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// row writes every cell as a text, which no spreadsheet evaluates.
func (s *xlsxSheet) row(cells []string) error {
	for i, c := range cells {
		s.line[i] = c
	}
	s.n++
	return s.rows.SetRow("A"+strconv.Itoa(s.n), s.line)
}

func (s *xlsxSheet) close() error {
	defer s.discard()
	if err := s.rows.Flush(); err != nil {
		return err
	}
	return s.file.Write(s.w)
}

func (s *xlsxSheet) discard() { _ = s.file.Close() } // its temporary files go with it

// exports counts the exports under way. Safe for concurrent use.
type exports struct {
	mu      sync.Mutex
	callers map[string]bool // guarded by mu
}

func (e *exports) begin(caller string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.callers[caller] || len(e.callers) >= exportsAtOnce {
		return false
	}
	if e.callers == nil {
		e.callers = map[string]bool{}
	}
	e.callers[caller] = true
	return true
}

func (e *exports) end(caller string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.callers, caller)
}
