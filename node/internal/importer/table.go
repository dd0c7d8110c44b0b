package importer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// File is a file that is read in passes, from the beginning or anywhere.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64 // bytes
}

// Format is how a file is written, found by its content and never by its name.
type Format string

// The formats.
const (
	CSV   Format = "csv"
	JSONL Format = "jsonl"
	XLSX  Format = "xlsx"
)

// Reading says how a file is to be read where its content or the map leaves that open.
type Reading struct {
	Encoding Encoding // of CSV and JSON Lines; "" finds it out
	Sheet    string   // of a workbook: its name, or its number from 1; "" is the map's, or the first one shown
	Cached   bool     // take a formula's stored result; without it a formula is a fault
}

// Table gives a file's rows in order. What one row costs is bounded, whatever the file holds.
//
// Used by one goroutine.
type Table interface {
	// Header names the columns. Lines of a header of several lines are joined.
	Header() []string
	// Next is the next row that is not empty: the line on which it stands, and its cells, as many as the
	// header has, which stay valid until the next call; or what is wrong with the row. Lines ascend. io.EOF
	// ends the file, a *FileError says that the file as a whole cannot be read any further.
	Next() (line int, cells []Cell, fault *Fault, err error)
	// Cell names a cell as the file's program does ("C5"), "" where there is no such name.
	Cell(line, column int) string
	// About says how the file was read. What it says of the whole file is right once Next has ended.
	About() About
	Close() error
}

// About is how a file was read, and what of it was passed over.
type About struct {
	Format     Format   `json:"format"`
	Encoding   Encoding `json:"encoding,omitempty"`
	Confidence int      `json:"confidence,omitempty"` // percent, that the encoding is this one; 100 where it is given
	Delimiter  string   `json:"delimiter,omitempty"`
	Sheet      string   `json:"sheet,omitempty"`
	Others     []string `json:"other_sheets,omitempty"` // not read
	Rows       int      `json:"hidden_rows,omitempty"`  // hidden, and read like others
	Columns    []string `json:"hidden_columns,omitempty"`
	Ignored    []string `json:"ignored,omitempty"` // macros, external links, …: never run, never followed
}

// Cell is one cell of a row.
type Cell struct {
	Text string   // as one who opens the file sees it; of a number, all its digits
	Kind CellKind // Text where the file knows no other kinds
	// Day is the day that a number stands for in the file's own calendar, "" for none.
	Day model.Date
	// Zeros is a number to whose head the file's own format has put zeros.
	Zeros bool
}

// CellKind is what a cell holds.
type CellKind uint8

// Kinds of cells.
const (
	Text    CellKind = iota
	Number           // a number: what has more digits than a double keeps is damaged
	Day              // a number that is shown as a date
	Boolean          // true or false
	Formula          // a formula whose result was not asked for
	Broken           // an error of the spreadsheet, as #N/A
	Nested           // an object or a list
	Merged           // covered by a merged cell
)

// osFile is a file on disk.
type osFile struct {
	*os.File
	size int64
}

func (f osFile) Size() int64 { return f.size }

// errNotRegular is a pipe, a folder or a device: it cannot be read twice.
var errNotRegular = errors.New("no regular file: it is read more than once")

// OpenFile opens a file on disk.
func OpenFile(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f, info.Size()}, nil
}

// errFile marks what is wrong with a file as a whole.
var errFile = errors.New("the file")

func badFile(zh, en string) error { return &FileError{zh, en} }

// FileError is what makes a file as a whole unreadable.
type FileError struct{ Zh, En string }

func (e *FileError) Error() string        { return e.En }
func (e *FileError) Is(target error) bool { return target == errFile }

// OpenTable finds out what a file is and reads its header. The table does not close the file.
func OpenTable(f File, m *Map, how Reading) (Table, error) {
	head := make([]byte, 8)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("PK")):
		return newWorkbook(f, m, how)
	case bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0")):
		return nil, badFile("文件是旧版 .xls，或带密码的工作簿。请在表格软件中取消密码，另存为 .xlsx", "the file is an old .xls, or a workbook with a password: take the password off and save it as .xlsx")
	case bytes.HasPrefix(head, []byte("%PDF")):
		return nil, badFile("文件是 PDF，不是表格", "the file is a PDF, not a table")
	}
	text, enc, confidence, err := decodeText(f, how.Encoding)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(text, MaxRow+2)
	about := About{Encoding: enc, Confidence: confidence}
	if first, _ := in.Peek(1); len(first) == 1 && first[0] == '{' {
		about.Format = JSONL
		return newJSONLines(f, in, about)
	}
	about.Format = CSV
	return newCSV(in, m, about)
}

// columnName is a spreadsheet's name of a column, counting from 0.
func columnName(i int) string {
	var b []byte
	for i++; i > 0; i = (i - 1) / 26 {
		b = append([]byte{byte('A' + (i-1)%26)}, b...)
	}
	return string(b)
}

func cellName(line, column int) string { return columnName(column) + strconv.Itoa(line) }
