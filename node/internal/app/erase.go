package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// A person whose data are to be erased is erased by forgetting: the ledger has commitments alone, and without salt and
// value nobody can tell what they are to. Two stores know both, the vault and, made from it, the search index. Who erases
// is the operator on the node's machine, for an agency that has decided it; the access log says who, what and why.

// ActionErase is the action of the entry that tells that a licence's confidential body was erased; it counts the operations
// whose bodies were.
const ActionErase = "licence.erase"

// Bounds of a request to erase.
const (
	maxReason   = 256 // bytes
	eraseWithin = 90 * time.Second
)

type eraseRequest struct {
	Record model.RecordID `json:"record"`
	Reason string         `json:"reason"`
	By     string         `json:"by"` // the operating system's user
}

func (r *eraseRequest) check() error {
	if _, _, ok := r.Record.Serial(); !ok {
		return model.E(model.CodeBadValue, "record").With("the id of a licence, such as bj-scjg.12")
	}
	if r.Reason == "" || len(r.Reason) > maxReason || !utf8.ValidString(r.Reason) {
		return model.E(model.CodeBadValue, "reason").With("1 to %d bytes of text, without personal data: the access log keeps it", maxReason)
	}
	return nil
}

// Erased says what was erased.
type Erased struct {
	Record     model.RecordID `json:"record"`
	Operations int            `json:"operations"` // whose confidential bodies were kept until now
}

// erase forgets a licence's confidential bodies.
//
// Crash argument: the entry is on the disk first, then the vault forgets, then the index. Whatever ends it in between, it
// is called again, and does again what changes nothing when it was done; the index reads from the vault nothing that is
// erased there.
func (n *Node) erase(ctx context.Context, r eraseRequest) (*Erased, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	kept, err := n.keptOf(r.Record)
	if err != nil {
		return nil, err
	}
	view, err := n.records.View(model.KindLicence, r.Record)
	if err != nil || view == nil { // it has versions, as was seen
		return nil, model.E(model.CodeInternal).Because(err)
	}
	logged, err := n.access.Begin(&sdk.AccessEntry{
		Time: model.TimeOf(time.Now()), Person: r.By, Agency: view.Owner, Action: ActionErase, Allowed: true, Status: http.StatusOK, Count: uint64(len(kept)),
		Use: &sdk.AccessUse{Purpose: r.Reason}, Records: []sdk.AccessRecord{{Kind: model.KindLicence, ID: string(r.Record)}},
	})
	if err == nil {
		err = logged(ctx)
	}
	if err != nil {
		return nil, err
	}
	for _, id := range kept {
		if err := n.vault.Erase(id); err != nil {
			return nil, err
		}
	}
	return &Erased{r.Record, len(kept)}, n.index.Forget(ctx, r.Record)
}

// keptOf lists the operations of a licence whose confidential bodies this node keeps.
func (n *Node) keptOf(record model.RecordID) (kept []model.OpID, err error) {
	for before, first := uint64(0), true; ; first = false {
		page, err := n.records.History(model.KindLicence, record, before, 256)
		if err != nil {
			return nil, model.E(model.CodeInternal).Because(err)
		}
		if len(page) == 0 && first {
			return nil, model.E(model.CodeNotFound, "record")
		}
		for i := range page {
			o, err := n.vault.Openings(page[i].Operation)
			if err != nil {
				return nil, err
			}
			if o != nil {
				kept = append(kept, page[i].Operation)
			}
			before = page[i].Version
		}
		if len(page) == 0 || before <= 1 {
			return kept, nil
		}
	}
}

// postErase answers the operator's request.
func (n *Node) postErase(w http.ResponseWriter, req *http.Request) {
	d := json.NewDecoder(http.MaxBytesReader(w, req.Body, 4096))
	d.DisallowUnknownFields()
	var r eraseRequest
	if err := d.Decode(&r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), eraseWithin)
	defer cancel()
	out, err := n.erase(ctx, r)
	var problem *model.Problem // in the body: the admin client takes a 404 for another program's
	if err != nil {
		n.log.Error("not erased, or not everywhere", "record", r.Record, "error", err)
		out, problem = nil, model.AsError(err).Problem()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(eraseAnswer{out, problem}) // the client may be gone
}

type eraseAnswer struct {
	Erased  *Erased        `json:"erased,omitempty"`
	Problem *model.Problem `json:"problem,omitempty"`
}

// Erase has a running node erase the confidential bodies of a licence: holder's code and name, and their salts. What it
// answers nil for is found no longer. ErrDown: no node runs. Called again it erases what came since.
func Erase(ctx context.Context, cfg *Config, record model.RecordID, reason string) (*Erased, error) {
	r := eraseRequest{record, reason, operator()}
	if err := r.check(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, eraseWithin+10*time.Second)
	defer cancel()
	b, err := NewAdmin(cfg).Do(ctx, http.MethodPost, "/erase", raw)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var out eraseAnswer
	if err := json.NewDecoder(io.LimitReader(b, 64<<10)).Decode(&out); err != nil {
		return nil, fmt.Errorf("the node's answer: %w", err)
	}
	if out.Problem != nil {
		return nil, out.Problem.Error()
	}
	if out.Erased == nil {
		return nil, errors.New("the node's answer says nothing")
	}
	return out.Erased, nil
}
