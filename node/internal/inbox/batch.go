package inbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Bounds of a batch.
const (
	MaxRows    = 10_000_000
	MaxRecords = 100_000 // that one batch of endings names
	maxName    = 256     // bytes
)

// Terms are what a batch may be used for.
type Terms struct {
	Name   string         `json:"name"`           // in people's words
	File   model.Digest   `json:"file"`           // SHA-256 of what is sent in pieces, for who approves to compare
	Rows   int            `json:"rows"`           // operations in all
	Type   model.Type     `json:"type"`           // of each
	Agency model.AgencyID `json:"agency"`         // that, or above, each operation's
	Until  model.Time     `json:"until,omitzero"` // once it is open

	// Records are what a batch of endings may end, each of them and nothing else. They stand in the draft's content, and
	// of an open batch under keys of their own.
	Records []model.RecordID `json:"-"`
}

// Check finds what a caller has written wrongly.
func (t *Terms) Check() error {
	switch {
	case t.Name == "":
		return model.E(model.CodeMissingField, "name")
	case len(t.Name) > maxName || !utf8.ValidString(t.Name):
		return model.E(model.CodeTooLong, "name")
	case t.Rows < 1 || t.Rows > MaxRows:
		return model.E(model.CodeBadValue, "rows").With("1 to %d", MaxRows)
	case t.Type == "":
		return model.E(model.CodeMissingField, "type")
	case t.File.IsZero():
		return model.E(model.CodeMissingField, "file")
	}
	if _, ok := model.Types[t.Type]; !ok || model.Derived(t.Type) {
		return model.E(model.CodeUnknownOperation, "type")
	}
	// Who approves sees a type, a number and a digest, or the records: enough for licences issued and for their undoing.
	// An amendment by the batch could shorten licences unseen.
	if t.Type != model.LicenceIssue && t.Type != model.LicenceRescind {
		return model.E(model.CodeBadValue, "type").With("a batch is of %s or %s", model.LicenceIssue, model.LicenceRescind)
	}
	return t.checkRecords()
}

// checkRecords holds a batch of what needs a second person by itself to a list: who approves must see what it ends.
func (t *Terms) checkRecords() error {
	switch rule := ruled[t.Type]; {
	case rule == "" && len(t.Records) > 0:
		return model.E(model.CodeBadValue, "records").With("only a batch of endings names records")
	case rule == "":
		return nil
	case rule != Endings:
		return model.E(model.CodeBadValue, "type").With("each %s is approved by itself", t.Type)
	case len(t.Records) == 0:
		return model.E(model.CodeMissingField, "records").With("a batch of endings names each record that it ends")
	case len(t.Records) > MaxRecords:
		return model.E(model.CodeTooMany, "records").With("at most %d", MaxRecords)
	case len(t.Records) != t.Rows:
		return model.E(model.CodeBadValue, "rows").With("%d records are named", len(t.Records))
	}
	seen := make(map[model.RecordID]bool, len(t.Records))
	for i, r := range t.Records {
		if _, _, ok := r.Serial(); !ok || seen[r] {
			return model.E(model.CodeBadValue, "records["+strconv.Itoa(i)+"]").With("no licence's id, or twice")
		}
		seen[r] = true
	}
	return nil
}

// drafts are the endings that a batch asks for, to be shown.
func (t *Terms) drafts() []model.Draft {
	out := make([]model.Draft, len(t.Records))
	for i, r := range t.Records {
		out[i] = model.Draft{Agency: t.Agency, Type: t.Type, Kind: model.KindLicence, Record: r}
	}
	return out
}

// FallsBatch lists the rules that a batch falls under, in force or not.
func (p *Policy) FallsBatch(t *Terms) []Rule {
	var out []Rule
	if r := ruled[t.Type]; r != "" {
		out = append(out, r)
	}
	if t.Rows > p.BatchOver {
		out = append([]Rule{Batches}, out...)
	}
	return out
}

// Batch is an open batch: requests under it need no approval of their own.
type Batch struct {
	ID     string `json:"id"`
	Person Person `json:"person"` // who registered it, and alone may use it
	Terms
	Used    int          `json:"used"`          // rows of requests that were accepted under it
	Key     string       `json:"key,omitempty"` // of a batch that needed no approval: the key it came with
	Request model.Digest `json:"request,omitzero"`
}

func putBatch(b *leveldb.Batch, t *Batch) error {
	raw, err := encode(t)
	if err != nil {
		return err
	}
	n, _ := parseID(t.ID)
	b.Put(numberKey('b', n), raw)
	return nil
}

// listKey is there for each record that an open batch of endings names.
func listKey(n uint64, r model.RecordID) []byte { return append(numberKey('l', n), r...) }

// listed puts the records that a batch names beside it.
func listed(b *leveldb.Batch, n uint64, records []model.RecordID) {
	for _, r := range records {
		b.Put(listKey(n, r), nil)
	}
}

// named reports whether a batch names a record.
func (in *Inbox) named(n uint64, r model.RecordID) (bool, error) {
	in.handle.RLock()
	defer in.handle.RUnlock()
	_, err := in.db.Get(listKey(n, r), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, model.E(model.CodeInternal).Because(err)
	}
	return true, nil
}

// Admit opens a batch that needs no approval. The same person, key and digest are the same batch.
func (in *Inbox) Admit(who Person, key string, digest model.Digest, t Terms) (*Batch, error) {
	if key != "" {
		defer in.lockKey(RequestKey(&who, key))()
		raw, err := in.get(requestKey(RequestKey(&who, key)))
		if err != nil {
			return nil, err
		}
		if raw != nil {
			was, err := in.readBatch(binary.BigEndian.Uint64(raw))
			if err == nil && (was == nil || was.Request != digest) {
				err = model.E(model.CodeIdempotencyMismatch)
			}
			return was, err
		}
	}
	if in.cfg.Full() {
		return nil, model.E(model.CodeStorageFull)
	}
	t.Until = model.TimeOf(in.cfg.Clock().Add(in.cfg.Expires))
	open := &Batch{Person: who, Terms: t, Key: key, Request: digest}
	n, err := in.reserveBatch(open)
	if err != nil {
		return nil, err
	}
	open.ID = newID(n)
	b := new(leveldb.Batch)
	if err := putBatch(b, open); err != nil {
		in.closes(n)
		return nil, err
	}
	listed(b, n, t.Records)
	if key != "" {
		b.Put(requestKey(RequestKey(&who, key)), binary.BigEndian.AppendUint64(nil, n))
	}
	if err := in.commit(b); err != nil {
		in.closes(n)
		return nil, err
	}
	in.opens(n, open) // the database may have been opened anew meanwhile
	return open, nil
}

// reserveBatch takes a number for a batch that needs no approval, where its person has not too many open ones: who uses
// them up, or lets them end, may open others.
func (in *Inbox) reserveBatch(t *Batch) (uint64, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	own, now := 0, in.cfg.Clock()
	for _, o := range in.open {
		if o.by == t.Person.Principal && now.Before(o.until) {
			own++
		}
	}
	if own >= in.cfg.MaxEach {
		return 0, model.E(model.CodeInboxFull).With("%d batches of yours are open already", own)
	}
	n := in.next
	in.next++
	in.open[n] = opened{t.Person.Principal, t.Until.Time()}
	return n, nil
}

// opens and closes count a batch that may be used, or no longer.
func (in *Inbox) opens(n uint64, t *Batch) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.open[n] = opened{t.Person.Principal, t.Until.Time()}
}

func (in *Inbox) closes(n uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.open, n)
}

// eachBatch reads every batch. Called with handle held, or before anybody else has the inbox.
func (in *Inbox) eachBatch(f func(n uint64, t *Batch)) error {
	it := in.db.NewIterator(util.BytesPrefix([]byte{'b'}), nil)
	defer it.Release()
	for it.Next() {
		var t Batch
		if err := json.Unmarshal(it.Value(), &t); err != nil {
			return damaged(err)
		}
		f(binary.BigEndian.Uint64(it.Key()[1:]), &t)
	}
	return it.Error()
}

func (in *Inbox) readBatch(n uint64) (*Batch, error) {
	raw, err := in.get(numberKey('b', n))
	if err != nil || raw == nil {
		return nil, err
	}
	t := new(Batch)
	if err := json.Unmarshal(raw, t); err != nil {
		return nil, damaged(err)
	}
	return t, nil
}

// FindBatch reads an open batch, and the draft that asked for it, of which one is nil: the batch before it is approved or
// where it never was, the draft where none was needed.
func (in *Inbox) FindBatch(id string) (*Batch, *Held, error) {
	n, ok := parseID(id)
	if !ok {
		return nil, nil, model.E(model.CodeNotFound, "id")
	}
	t, err := in.readBatch(n)
	if err != nil {
		return nil, nil, err
	}
	if t != nil && t.ID == id {
		return t, nil, nil
	}
	h, err := in.Get(id)
	if err == nil && h.Batch == nil {
		err = model.E(model.CodeNotFound, "id")
	}
	return nil, h, err
}

// Open reports whether a batch may still be used.
func (t *Batch) Open(now time.Time) bool { return now.Before(t.Until.Time()) }

// Under accepts a request under a batch. below says whether an agency stands below another. accept is called once
// the batch allows the request and its operations are counted on the disk; where it fails with nothing written they
// are given back. A request that is repeated under its key counts once, however the node ends in between: what was
// counted for it stands beside the batch.
func (in *Inbox) Under(id string, who Person, key string, drafts []model.Draft, below func(agency, above model.AgencyID) bool, accept func() error) error {
	n, ok := parseID(id)
	if !ok {
		return model.E(model.CodeBatchNotOpen)
	}
	if key == "" {
		return model.E(model.CodeMissingField, "Idempotency-Key").With("a request under a batch has one")
	}
	request := RequestKey(&who, key)
	defer in.lockKey(request)()
	counted := append(numberKey('u', n), request[:]...)
	given, err := in.count(n, id, &who, drafts, below, counted)
	if err != nil {
		return err
	}
	err = accept()
	if err != nil && given && model.AsError(err).Kind() != model.Unknown {
		in.giveBack(n, len(drafts), counted)
	}
	return err
}

// count takes a request's operations off what a batch has left; given is false where that was done before.
func (in *Inbox) count(n uint64, id string, who *Person, drafts []model.Draft, below func(agency, above model.AgencyID) bool, counted []byte) (given bool, err error) {
	defer in.lock(n)()
	t, err := in.readBatch(n)
	if err != nil {
		return false, err
	}
	if t == nil || t.ID != id || !t.Person.same(who) || !t.Open(in.cfg.Clock()) {
		return false, model.E(model.CodeBatchNotOpen)
	}
	for i := range drafts {
		d := &drafts[i]
		if d.Type != t.Type || (d.Agency != t.Agency && !below(d.Agency, t.Agency)) {
			return false, model.E(model.CodeBatchNotOpen, "operations["+strconv.Itoa(i)+"]")
		}
		if ruled[t.Type] == "" {
			continue
		}
		// A batch from before batches named records names none, and opens nothing.
		if ok, err := in.named(n, d.Record); err != nil {
			return false, err
		} else if !ok {
			return false, model.E(model.CodeBatchNotOpen, "operations["+strconv.Itoa(i)+"]").With("%s is not among the records that were approved", d.Record)
		}
	}
	raw, err := in.get(counted)
	if err != nil {
		return false, err
	}
	now, err := countOf(drafts)
	if err != nil {
		return false, err
	}
	if raw != nil { // an inbox from before the digest has the number alone
		if rows, _, old := strings.Cut(string(now), " "); string(raw) != string(now) && !(old && string(raw) == rows) {
			return false, model.E(model.CodeIdempotencyMismatch)
		}
		return false, nil
	}
	if t.Used+len(drafts) > t.Rows {
		return false, model.E(model.CodeBatchExhausted).With("%d of %d rows are used", t.Used, t.Rows)
	}
	if in.cfg.Full() {
		return false, model.E(model.CodeStorageFull)
	}
	t.Used += len(drafts)
	b := new(leveldb.Batch)
	if err := putBatch(b, t); err != nil {
		return false, err
	}
	b.Put(counted, now)
	if err := in.commit(b); err != nil {
		return true, err
	}
	if t.Used == t.Rows {
		in.closes(n)
	}
	return true, nil
}

// countOf is what stands beside a batch of a request that was counted: how many operations, and a digest of them, since
// the same key may pass nothing else.
func countOf(drafts []model.Draft) ([]byte, error) {
	raw, err := json.Marshal(drafts)
	if err != nil {
		return nil, err
	}
	return []byte(strconv.Itoa(len(drafts)) + " " + model.DigestOf(raw).String()), nil
}

func (in *Inbox) giveBack(n uint64, rows int, counted []byte) {
	defer in.lock(n)()
	t, err := in.readBatch(n)
	if err != nil || t == nil {
		return
	}
	t.Used -= rows
	b := new(leveldb.Batch)
	if err = putBatch(b, t); err == nil {
		b.Delete(counted)
		err = in.commit(b)
	}
	if err == nil {
		in.opens(n, t)
	}
	if err != nil {
		in.cfg.Logger.Warn("rows of a batch could not be given back", "batch", t.ID, "cause", err)
	}
}
