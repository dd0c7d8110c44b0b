package sdk

import (
	"encoding/json"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Import is an import that the node runs by itself, from a file that was uploaded. See docs/spec/imports.md.
type Import struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"` // of the file
	Map      string         `json:"map"`  // its name
	Agency   model.AgencyID `json:"agency"`
	By       string         `json:"by,omitempty"` // who uploaded it
	State    ImportState    `json:"state"`
	Created  model.Time     `json:"created"`
	Finished *model.Time    `json:"finished,omitempty"`
	// Event rises with every change, also over restarts of the node: the id of the newest event.
	Event int64 `json:"event"`

	Rows     int     `json:"rows"`  // checked so far
	Good     int     `json:"good"`  // of them, once all are checked
	Bad      int     `json:"bad"`   // the same
	Notes    int     `json:"notes"` // put right, or worth a look
	Issued   int     `json:"issued"`
	Already  int     `json:"already_there"`
	Rejected int     `json:"rejected"`        // by the check and by the node
	Rate     float64 `json:"rate"`            // rows a second, of what is under way
	Left     float64 `json:"left_seconds"`    // about; 0 while not known
	Draft    string  `json:"draft,omitempty"` // that a second person has yet to approve
	// Problem says why the import has failed, or what it waits for.
	Problem *ImportProblem `json:"problem,omitempty"`
	// About says how the file was read: format, encoding and how sure that is, sheet, what was passed over.
	About json.RawMessage `json:"about,omitempty"`
	// Faults are the first things that are wrong with rows; the rejects file has all.
	Faults []ImportFault `json:"faults,omitempty"`
	// Rejects is where the rejected rows can be had, "" where there are none.
	Rejects string `json:"rejects,omitempty"`
	Erased  bool   `json:"erased,omitempty"` // file and rejects are no longer kept
	// Undo is the undoing of what the import has issued, nil where nobody has asked for it.
	Undo *ImportUndo `json:"undo,omitempty"`
}

// Ended reports whether nothing more becomes of an import, its undoing included.
func (i *Import) Ended() bool { return i.State.Final() && (i.Undo == nil || i.Undo.State.Final()) }

// UndoImport asks for the licences that an import has issued to be rescinded, from their first day.
type UndoImport struct {
	Reason       string `json:"reason"`                  // a code: 2 to 32 of a-z, 0-9 and hyphen
	Decision     string `json:"decision,omitempty"`      // its number; the import's batch by default
	ForceAmended bool   `json:"force_amended,omitempty"` // rescind also what was amended or otherwise acted on since
}

// ImportUndo is an undoing. It needs a second person's approval and may end with licences left as they are.
type ImportUndo struct {
	UndoImport
	State    ImportState `json:"state"`
	By       string      `json:"by,omitempty"` // who asked for it
	Created  model.Time  `json:"created"`
	Finished *model.Time `json:"finished,omitempty"`

	Rescinded    int            `json:"rescinded"`
	AlreadyEnded int            `json:"already_ended"`   // before, and left
	AmendedSince int            `json:"amended_since"`   // or otherwise acted on, and left
	Refused      int            `json:"refused"`         // by the node
	Left         []ImportLeft   `json:"left,omitempty"`  // the first of these
	Draft        string         `json:"draft,omitempty"` // that a second person has yet to approve
	Problem      *ImportProblem `json:"problem,omitempty"`
}

// ImportLeft is a licence that an undoing has left as it is.
type ImportLeft struct {
	Record model.RecordID `json:"record"`
	Code   model.Code     `json:"code"` // LeftEnded, LeftAmended, or why the node refused
}

// Why a licence was left, beside a node's refusal.
const (
	LeftEnded   model.Code = "already_ended"
	LeftAmended model.Code = "amended_since"
)

// ImportState is how far an import has come.
type ImportState string

// States of an import. The last three are final.
const (
	ImportQueued   ImportState = "queued"
	ImportChecking ImportState = "checking"
	ImportAwaiting ImportState = "awaiting_approval"
	ImportIssuing  ImportState = "issuing"
	// ImportRescinding is of an undoing only, which is queued, may wait for its approval, and ends like an import.
	ImportRescinding ImportState = "rescinding"
	ImportDone       ImportState = "done"
	ImportFailed     ImportState = "failed"
	ImportCancelled  ImportState = "cancelled"
)

// Final reports whether nothing more becomes of an import.
func (s ImportState) Final() bool {
	return s == ImportDone || s == ImportFailed || s == ImportCancelled
}

// ImportProblem is what is wrong with an import as a whole.
type ImportProblem struct {
	Code model.Code `json:"code"`
	Zh   string     `json:"zh"`
	En   string     `json:"en"`
}

// ImportFault is one thing that is wrong with one row. It holds no value of the row.
type ImportFault struct {
	Line   int        `json:"line"`
	Cell   string     `json:"cell,omitempty"`
	Column string     `json:"column,omitempty"`
	Code   model.Code `json:"code"`
	Zh     string     `json:"zh"`
	En     string     `json:"en"`
	Note   bool       `json:"note,omitempty"` // the row is good all the same
}

// ImportList is the imports of a node, the newest first, without their faults.
type ImportList struct {
	Imports []Import `json:"imports"`
}
