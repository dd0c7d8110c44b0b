package importer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Import is one file to be issued under one map. Used by one goroutine.
type Import struct {
	Map     *Map
	Open    func() (File, error) // called once a pass
	Reading Reading              // what the file and the map leave open
	Targets []Target             // each with a name, or one without
	Clock   func() time.Time

	Name   string // of the file, for people
	Legacy bool   // codes that do not check go in as taken over unchecked, never valid until corrected
	// Approval is how long to wait for the second person that a large import needs; 0: not at all, the error
	// is a *NeedsApproval then.
	Approval time.Duration

	BatchRows int           // drafts of a request; 500 by default
	InFlight  int           // requests under way at once; 4 by default
	Patience  time.Duration // how long a request is repeated while its node is unavailable; 2 minutes by default

	// Fault hears of every fault and note that the first pass finds, in the order of lines. May be nil.
	Fault func(Fault)
	// Progress hears how far a pass has come, some times a second. May be nil.
	Progress func(Progress)
	// Presented is given what holders of confidential licences need to keep, and makes it durable before the
	// rows count as done; after a crash it may be given the same again. Called by several goroutines. May be
	// nil.
	Presented func([]Issued) error

	dir         *Directory
	texts       map[int]bool // columns, of the file; nil until a pass has found them
	mostRejects int          // bytes; maxRejects by default

	pause time.Duration // before a request is repeated for the first time; 0.1 s by default
}

// Progress is how far a pass has come.
type Progress struct {
	Pass  Pass
	Rows  int // read, checked or settled
	Total int // good rows, in the second pass; 0 while not known
}

// Pass is what an import is doing.
type Pass string

// The passes.
const (
	Checking Pass = "check"
	Issuing  Pass = "issue"
	Undoing  Pass = "undo"
)

// Issued is a licence with a confidential body.
type Issued struct {
	Line         int                `json:"line"`
	Number       string             `json:"number"`
	Record       model.RecordID     `json:"record"`
	Presentation model.Presentation `json:"presentation"`
}

// Checked is what the first pass found.
type Checked struct {
	File model.Digest `json:"file"`
	Rows int          `json:"rows"`
	Good int          `json:"good"`
	Bad  int          `json:"bad"`
	// Notes counts what was put right or is worth a look in rows, good and bad.
	Notes int `json:"notes"`
	// ByNode counts the good rows by the node that they go to.
	ByNode map[model.NodeID]int `json:"-"`
	About  About                `json:"about"`
}

// Check reads the whole file, calls Fault for everything that is wrong with a row, and writes nothing.
func (im *Import) Check(ctx context.Context) (Checked, error) {
	var c Checked
	if im.dir == nil {
		im.dir = NewDirectory(im.Targets[0].Node)
	}
	c.ByNode = map[model.NodeID]int{}
	file, about, err := im.rows(ctx, func(row Row, faults []Fault, _ []Cell) error {
		c.Rows++
		notes := 0
		for i := range faults {
			if faults[i].Note {
				notes++
			}
		}
		if c.Notes += notes; notes == len(faults) {
			c.Good++
			c.ByNode[row.Node]++
		} else {
			c.Bad++
		}
		if im.Fault != nil {
			for _, f := range faults {
				im.Fault(f)
			}
		}
		if c.Rows%1000 == 0 {
			im.progress(Progress{Pass: Checking, Rows: c.Rows})
		}
		return nil
	})
	c.File, c.About = file, about
	return c, err
}

// OpenJournal opens or creates the state file of this import.
func (im *Import) OpenJournal(path string, file model.Digest) (*Journal, error) {
	return openJournal(path, journalHead{Format: journalFormat, File: file, Map: im.Digest(), Started: model.TimeOf(im.Clock()), Name: im.Name, Legacy: im.Legacy})
}

// Digest is of the map and of what was said beside it of how the file is to be read.
func (im *Import) Digest() model.Digest {
	if im.Reading == (Reading{}) && !im.Legacy {
		return im.Map.Digest()
	}
	d := im.Map.Digest()
	h := sha256.New()
	h.Write(d[:])
	fmt.Fprintf(h, "\n%q %q %v %v", im.Reading.Encoding, im.Reading.Sheet, im.Reading.Cached, im.Legacy)
	return model.Digest(h.Sum(nil))
}

func (im *Import) progress(p Progress) {
	if im.Progress != nil {
		im.Progress(p)
	}
}

// rows reads the file and calls f for every data row, good or bad, in order. cells are the row's, nil where
// they could not be read. It returns the digest of the file as it is afterwards.
func (im *Import) rows(ctx context.Context, f func(row Row, faults []Fault, cells []Cell) error) (digest model.Digest, about About, err error) {
	if im.texts == nil {
		if im.texts, err = im.textColumns(ctx); err != nil {
			return digest, about, err
		}
	}
	in, err := im.Open()
	if err != nil {
		return digest, about, err
	}
	defer in.Close()
	table, err := OpenTable(in, im.Map, im.Reading)
	if err != nil {
		return digest, about, err
	}
	defer table.Close()
	c, err := newChecker(ctx, im.Map, table, im.dir, model.DateOf(im.Clock()), im.names())
	if err != nil {
		return digest, about, err
	}
	c.legacy, c.texts = im.Legacy, im.texts
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return digest, about, err
		}
		line, cells, fault, err := table.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return digest, about, err
		}
		if n == MaxRows {
			return digest, about, badFile("文件超过 200 万行，请拆分", "the file has more than 2,000,000 rows: split it")
		}
		var row Row
		var faults []Fault
		if fault != nil {
			c.row++
			faults = []Fault{*fault}
		} else if row, faults, err = c.check(ctx, line, cells); err != nil {
			return digest, about, err
		}
		row.Line = line
		if err := f(row, faults, cells); err != nil {
			return digest, about, err
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(in, 0, in.Size())); err != nil {
		return digest, about, err
	}
	return model.Digest(h.Sum(nil)), table.About(), nil
}

// good reports whether a row goes in: nothing but notes was said of it.
func good(faults []Fault) bool {
	return !slices.ContainsFunc(faults, func(f Fault) bool { return !f.Note })
}

// names is the set of nodes that rows can be sent to, nil where the one target takes all.
func (im *Import) names() map[model.NodeID]bool {
	if len(im.Targets) == 1 && im.Targets[0].Name == "" {
		return nil
	}
	names := map[model.NodeID]bool{}
	for _, t := range im.Targets {
		names[t.Name] = true
	}
	return names
}
