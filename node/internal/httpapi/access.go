package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// visit is what an exchange knows for its entry in the access log. The entry is taken when the answer's header is
// written, whatever handler writes it: so nothing is answered that is not logged.
type visit struct {
	entry    sdk.AccessEntry // here, so that it costs no allocation
	records  []sdk.AccessRecord
	action   string // asked for; several different ones joined by commas
	count    int    // elements of the request
	noted    bool   // the entry is taken
	written  bool   // something was changed: a failure to log it must not read as if nothing had been
	flushed  bool   // some records stand in entries of their own already
	failed   error  // an entry that was not taken
	withheld bool   // the entry could not be taken, and neither was the answer given
}

const maxActions = 200 // bytes

func (x *exchange) asked(action string) {
	v := &x.visit
	switch {
	case v.action == "":
		v.action = action
	case v.action == action || len(v.action) > maxActions || strings.Contains(v.action, action):
	default:
		v.action += "," + action
	}
}

// touched tells the access log of a record that the answer is about; id "*" is all of a kind. A route whose path names
// its one record need not say so. However many there are, no more than one entry's are held at a time.
func (x *exchange) touched(kind model.Kind, id string) {
	if len(x.visit.records) == maxNoted {
		x.flush()
	}
	x.visit.records = append(x.visit.records, sdk.AccessRecord{Kind: kind, ID: id})
}

// exchangeKey finds the exchange in the context of a handler that huma calls.
type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// note has the entry taken, once. The entry of what changed something is on the disk when it returns. Of a signed-out
// request there is none.
func (x *exchange) note(status int) error {
	if x.caller == nil || x.visit.noted {
		return nil
	}
	v := &x.visit
	if v.failed != nil {
		return v.failed
	}
	if len(v.records) == 0 && !v.flushed {
		x.pathRecord()
	}
	e := x.entry(status)
	e.Records, e.Count = v.records, uint64(max(v.count, len(v.records), 1))
	v.records = v.records[:0]
	if x.r.Method == http.MethodGet || x.rt.reads || status >= http.StatusMultipleChoices {
		err := x.api.access.Append(e)
		v.noted = err == nil
		return err
	}
	wait, err := x.begin(e)
	if err == nil {
		err = wait()
	}
	v.noted, v.written = err == nil, true
	return err
}

// flush has the records so far taken in an entry of their own: those of a long answer, before they are written to the
// client.
func (x *exchange) flush() {
	v := &x.visit
	e := x.entry(http.StatusOK)
	e.Records, e.Count = v.records, uint64(len(v.records))
	if err := x.api.access.Append(e); err != nil {
		v.failed = err
	}
	v.records, v.flushed = v.records[:0], true
}

// begin has an entry written at once; wait returns once it is on the disk, however impatient the caller has become.
func (x *exchange) begin(e *sdk.AccessEntry) (wait func() error, err error) {
	entered, err := x.api.access.Begin(e)
	if err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), patience)
		defer cancel()
		return entered(ctx)
	}, nil
}

// maxNoted is the most records of one entry; more make further entries of the same request.
const maxNoted = 1000

// entry is the exchange's entry but for its records and their count.
func (x *exchange) entry(status int) *sdk.AccessEntry {
	c, e := x.caller, &x.visit.entry
	*e = sdk.AccessEntry{
		Time: model.TimeOf(x.api.now()), Person: c.ID(), Name: c.Name(), Pseudonym: c.Person(), Agency: c.Agency(),
		Action: x.visit.action, Route: x.rt.id, Allowed: x.decision.Allowed, Policy: x.decision.Policy, Status: status, Request: x.id,
	}
	if p := c.Party(); p != "" {
		e.Party, e.Agency = p, x.api.agencies.Host(p)
	}
	if e.Action == "" {
		e.Action = x.rt.action
	}
	if x.rt.logs != "" {
		e.Action = x.rt.logs
	}
	return e
}

// accepted has the entry of accepted operations begun; wait returns once it is on the disk. It runs while the
// operations are on their way to the ledger, so that it costs no time.
func (x *exchange) accepted(ids []model.OpID) (wait func() error, err error) {
	v := &x.visit
	v.written, v.count = true, len(ids)
	for _, id := range ids {
		// What became of them is not asked here, only which records they are about.
		if o, err := x.api.intake.Outcome(x.r.Context(), id); err == nil && o.Record != "" {
			x.touched(o.Kind, string(o.Record))
		} else {
			x.touched(kindOperation, id.String())
		}
	}
	e := x.entry(http.StatusAccepted)
	e.Records, e.Count = v.records, uint64(len(ids))
	if wait, err = x.begin(e); err != nil {
		return nil, err
	}
	v.noted, v.records = true, v.records[:0]
	return wait, nil
}

// verified takes down who asked for verdicts and for what use: one entry, or where the queries of a request state
// different uses, one for each run of them.
func (x *exchange) verified(queries []model.Query, verdicts []model.Verdict) error {
	v := &x.visit
	for from := 0; from < len(queries); {
		use := queries[from].Use
		to := from + 1
		for to < len(queries) && sameUse(queries[to].Use, use) {
			to++
		}
		v.records = v.records[:0]
		for i := from; i < to; i++ {
			if r := verdicts[i].Record; r != nil {
				x.touched(r.Kind, string(r.ID))
			}
		}
		e := x.entry(http.StatusOK)
		e.Records, e.Count = v.records, uint64(to-from)
		if use != nil {
			e.Use = &sdk.AccessUse{Purpose: use.Purpose, OrgName: use.OrgName, ItemName: use.ItemName, ItemCode: use.ItemCode, BusinessCode: use.BusinessCode}
			if use.Username != "" {
				e.Use.User = x.api.accessReader.Clerk(use.Username)
			}
		}
		if err := x.api.access.Append(e); err != nil {
			return err
		}
		from = to
	}
	v.noted, v.records = true, v.records[:0]
	return nil
}

func sameUse(a, b *model.Use) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// withhold answers with the reason why the entry could not be taken, and nothing of what the handler had to say.
func (x *exchange) withhold(err error) {
	e := model.AsError(err)
	if x.visit.written { // and cannot be taken back
		e = model.E(model.CodeOutcomeUnknown).Because(err)
	}
	x.visit.withheld = true
	p := problemOf(e)
	x.api.log.Error("an answer was withheld: the access log could not take its entry", "request", x.id, "route", x.rt.pattern(), "error", err)
	x.api.metrics.refused(p.Code)
	h := x.Header()
	for _, name := range []string{"Location", "Content-Disposition", "Etag"} {
		delete(h, name)
	}
	setErrorHeaders(h, e, p.Status)
	h["Content-Type"] = problems
	b := appendProblem(nil, p)
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	x.status = p.Status
	x.ResponseWriter.WriteHeader(p.Status)
	_, _ = x.ResponseWriter.Write(b) // the client may be gone
}

// errWithheld ends what would write on, such as a stream of events.
var errWithheld = errors.New("httpapi: the answer is withheld")

// kindOperation stands in the access log for an operation that was asked for by its id.
const (
	kindOperation model.Kind = "operation"
	kindDraft     model.Kind = "draft"
)

// pathKinds are the kinds that stand in paths as words.
var pathKinds = map[string]model.Kind{"licences": model.KindLicence, "operations": kindOperation, "drafts": kindDraft, "batches": "batch",
	"people": KindUser, "keys": KindKey}

// pathRecord takes the record from the route's path: /v1/<words>/{id}…, or the kind alone of a list.
func (x *exchange) pathRecord() {
	kind := model.Kind(x.r.PathValue("kind"))
	id := x.r.PathValue("id")
	if kind == "" {
		words, _, found := strings.Cut(x.rt.path, "/{id}")
		if !found {
			if x.rt == routeEvents {
				kind, id = model.Kind(x.r.URL.Query().Get("kind")), "*"
				if model.Machines[kind] == nil {
					kind = "*"
				}
				x.touched(kind, id)
			}
			return
		}
		kind = model.Kind(words[strings.LastIndexByte(words, '/')+1:])
	}
	if k, ok := registryKinds[string(kind)]; ok {
		kind = k
	} else if k, ok := pathKinds[string(kind)]; ok {
		kind = k
	}
	if id == "" {
		id = "*"
	} else if _, err := model.ParseRecordID(id); err != nil {
		return // nothing can have that id
	}
	if len(kind) <= 32 {
		x.touched(kind, id)
	}
}

type accessInput struct {
	Record string `query:"record" doc:"Entries about one record: KIND/ID, such as licence/bj-scjg.17. Lists and streams that held it are among them."`
	Person string `query:"person" doc:"Entries of one user or key, by id."`
	Agency string `query:"agency" doc:"Entries of the people of one agency."`
	From   string `query:"from" doc:"First day, YYYY-MM-DD, in Beijing."`
	Until  string `query:"until" doc:"Last day, inclusive."`
	After  uint64 `query:"after" doc:"Only entries with a greater number: next of the page before."`
	Limit  int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"At most so many."`
}

// audits reports whether the caller may see entries of an agency's people; with "" the node's own, and those of people whose
// agency is not known, which are for who audits an agency at the top of this node.
func (x *exchange) audits(agency model.AgencyID) bool {
	if agency != "" {
		return x.caller.Decide(ActionReadAccess, agency).Allowed
	}
	for _, top := range x.api.agencies.Tops() {
		if x.caller.Decide(ActionReadAccess, top).Allowed {
			return true
		}
	}
	return false
}

// getAccess reads the access log. What the caller sees are the entries of people whose agency he may audit; that he
// looked stands in the log as well, with the record that he asked about.
func (a *API) getAccess(ctx context.Context, in *accessInput) (*output[sdk.AccessPage], error) {
	q := AccessQuery{Person: in.Person, After: in.After, Limit: in.Limit}
	x := exchangeOf(ctx)
	if in.Record != "" {
		kind, id, ok := strings.Cut(in.Record, "/")
		if k, known := registryKinds[kind]; known {
			kind = string(k)
		}
		if !ok || len(kind) > 32 {
			return nil, model.E(model.CodeBadValue, "record")
		}
		if _, err := model.ParseRecordID(id); err != nil {
			return nil, model.E(model.CodeBadID, "record")
		}
		q.Record = sdk.AccessRecord{Kind: model.Kind(kind), ID: id}
		x.touched(q.Record.Kind, id)
	} else {
		x.touched(model.KindAccessLog, "*")
	}
	if len(in.Person) > 128 {
		return nil, model.E(model.CodeTooLong, "person")
	}
	var err error
	if in.Agency != "" {
		if q.Agency, err = model.ParseAgencyID(in.Agency); err != nil {
			return nil, model.E(model.CodeBadID, "agency")
		}
	}
	if q.From, q.Until, err = days(in.From, in.Until); err != nil {
		return nil, err
	}
	sees := map[model.AgencyID]bool{}
	q.Sees = func(agency model.AgencyID) bool {
		ok, known := sees[agency]
		if !known {
			ok = x.audits(agency)
			sees[agency] = ok
		}
		return ok
	}
	page, err := a.accessReader.Read(ctx, q)
	return &output[sdk.AccessPage]{page}, err
}

// days is the time from the beginning of one day to the end of another, in Beijing; zero where a day is not given.
func days(from, until string) (a, b time.Time, err error) {
	if from != "" {
		d, err := model.ParseDate(from)
		if err != nil {
			return a, b, model.E(model.CodeBadDate, "from")
		}
		a = dayStart(d)
	}
	if until != "" {
		d, err := model.ParseDate(until)
		if err != nil {
			return a, b, model.E(model.CodeBadDate, "until")
		}
		b = dayStart(d).AddDate(0, 0, 1)
	}
	return a, b, nil
}

func dayStart(d model.Date) time.Time {
	t, _ := time.ParseInLocation(time.DateOnly, string(d), model.Shanghai) // a Date is one
	return t
}

// unlogged is the access log of an API that has none.
type unlogged struct{}

func (unlogged) Ready() error                     { return nil }
func (unlogged) Append(*sdk.AccessEntry) error    { return nil }
func (unlogged) Count(int)                        {}
func (unlogged) Clerk(string) (p model.Pseudonym) { return }

func (unlogged) Begin(*sdk.AccessEntry) (func(context.Context) error, error) {
	return func(context.Context) error { return nil }, nil
}

func (unlogged) Read(context.Context, AccessQuery) (sdk.AccessPage, error) {
	return sdk.AccessPage{Entries: []sdk.AccessEntry{}}, nil
}
