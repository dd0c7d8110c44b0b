package importer

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Import is one file to be issued under one map. Used by one goroutine.
type Import struct {
	Map     *Map
	Open    func() (io.ReadCloser, error) // the file from its beginning; called once a pass
	Targets []Target                      // each with a name, or one without
	Clock   func() time.Time

	BatchRows int           // drafts of a request; 500 by default
	InFlight  int           // requests under way at once; 4 by default
	Patience  time.Duration // how long a request is repeated while its node is unavailable; 2 minutes by default

	// Fault hears of every fault that the first pass finds, in the order of lines. May be nil.
	Fault func(Fault)
	// Progress hears how far a pass has come, some times a second. May be nil.
	Progress func(Progress)
	// Presented is given what holders of confidential licences need to keep, and makes it durable before the
	// rows count as done; after a crash it may be given the same again. Called by several goroutines. May be
	// nil.
	Presented func([]Issued) error

	dir   *Directory
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
}

// Check reads the whole file, calls Fault for everything that is wrong with a row, and writes nothing.
func (im *Import) Check(ctx context.Context) (Checked, error) {
	var c Checked
	if im.dir == nil {
		im.dir = NewDirectory(im.Targets[0].Node)
	}
	file, err := im.rows(ctx, func(_ Row, faults []Fault, _ []string) error {
		c.Rows++
		if len(faults) == 0 {
			c.Good++
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
	c.File = file
	return c, err
}

func (im *Import) progress(p Progress) {
	if im.Progress != nil {
		im.Progress(p)
	}
}

// digester computes the digest of what passes through.
type digester struct {
	r io.Reader
	h hash.Hash
}

func (d digester) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.h.Write(p[:n])
	return n, err
}

// rows reads the file and calls f for every data row, good or bad, in order. cells are the row's, nil where
// they could not be read. It returns the file's digest.
func (im *Import) rows(ctx context.Context, f func(row Row, faults []Fault, cells []string) error) (model.Digest, error) {
	in, err := im.Open()
	if err != nil {
		return model.Digest{}, err
	}
	defer in.Close()
	comma, err := im.Map.comma()
	if err != nil {
		return model.Digest{}, err
	}
	d := digester{in, sha256.New()}
	rows, err := NewRows(d, comma)
	if err != nil {
		return model.Digest{}, err
	}
	c, err := newChecker(ctx, im.Map, rows.Header(), im.dir, model.DateOf(im.Clock()), im.names())
	if err != nil {
		return model.Digest{}, err
	}
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return model.Digest{}, err
		}
		line, cells, fault, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return model.Digest{}, err
		}
		if n == MaxRows {
			return model.Digest{}, badFile("文件超过 200 万行，请拆分", "the file has more than 2,000,000 rows: split it")
		}
		var row Row
		var faults []Fault
		if fault != nil {
			c.row++
			faults = []Fault{*fault}
		} else if row, faults, err = c.check(ctx, line, cells); err != nil {
			return model.Digest{}, err
		}
		row.Line = line
		if err := f(row, faults, cells); err != nil {
			return model.Digest{}, err
		}
	}
	return model.Digest(d.h.Sum(nil)), nil
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
