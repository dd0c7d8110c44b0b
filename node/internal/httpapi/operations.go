package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// headerOperation names the operation of a request for one, also beside a problem; headerBatch the batch that a request
// belongs to.
const (
	headerOperation = "Zhenglian-Operation"
	headerBatch     = "Zhenglian-Batch"
)

// patience is how long a request waits for its operations to be committed.
const patience = 10 * time.Second

// postOperations takes one draft or an array. Admission is all or nothing: one bad draft and the problem
// names it by index, with nothing written. Accepted operations have their outcomes one by one.
func (a *API) postOperations(x *exchange) error {
	body, err := x.body(nil) // not reused: the drafts keep parts of it
	if err != nil {
		return err
	}
	drafts, single, err := decodeDrafts(body)
	if err != nil {
		return err
	}
	for i := range drafts {
		d := &drafts[i]
		if d.Agency == "" {
			d.Agency = x.caller.Agency()
		}
		if err := x.decide(string(d.Type), d.Agency); err != nil {
			if single {
				return err
			}
			return &elementError{i, err}
		}
	}
	return a.submit(x, body, drafts, single)
}

// submitOne sends the operation of a route with a friendlier shape.
func (a *API) submitOne(x *exchange, body []byte, d model.Draft) error {
	if d.Agency == "" {
		d.Agency = x.caller.Agency()
	}
	if err := x.decide(string(d.Type), d.Agency); err != nil {
		return err
	}
	return a.submit(x, body, []model.Draft{d}, true)
}

// submit has the drafts accepted and answers with their outcomes: 200 when none is pending, 202 when the
// caller did not wait, or not long enough. One refused operation is answered with its own problem.
func (a *API) submit(x *exchange, body []byte, drafts []model.Draft, single bool) error {
	wait, err := waits(x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	key := x.r.Header.Get("Idempotency-Key")
	if !validKey(key) {
		return model.E(model.CodeBadValue, "Idempotency-Key").With("1 to 128 visible ASCII characters")
	}
	ids, index, err := a.intake.Accept(x.r.Context(), Submission{
		Principal: x.caller.ID(), Agency: x.caller.Agency(), Person: x.caller.Person(), Name: x.caller.Name(),
		Batch: x.r.Header.Get(headerBatch), Key: key, Digest: requestDigest(x.r, body), Drafts: drafts,
	})
	if err != nil { // refused or held: these are the records that it was about
		x.visit.count = len(drafts)
		for i := range drafts {
			if d := &drafts[i]; d.Kind != "" && d.Record != "" {
				x.touched(d.Kind, string(d.Record))
			}
		}
	}
	var held *Held
	if errors.As(err, &held) {
		return a.held(x, held)
	}
	if err != nil {
		if index >= 0 && !single {
			return &elementError{index, err}
		}
		return err
	}
	if single && len(ids) == 1 {
		x.Header()[headerOperation] = []string{ids[0].String()}
		x.Header()["Location"] = []string{"/v1/operations/" + ids[0].String()}
	}

	logged, err := x.accepted(ids)
	if err != nil {
		return model.E(model.CodeOutcomeUnknown).Because(err)
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), patience)
	defer cancel()
	if !wait {
		cancel() // Wait answers at once with what is known
	}
	outcomes, err := a.intake.Wait(ctx, ids)
	if err == nil { // nothing is acknowledged that is not in the access log; mostly it is by now
		err = logged()
	}
	if err != nil {
		// The operations are accepted and will not be lost; only what became of them is not known here.
		return model.E(model.CodeOutcomeUnknown).Because(err)
	}
	status := statusOf(outcomes, single)
	if single && len(outcomes) == 1 && outcomes[0].Status == model.Rejected && outcomes[0].Problem != nil {
		return outcomes[0].Problem.Error()
	}
	x.answer(status, appendList(make([]byte, 0, 640*len(outcomes)), single, outcomes, appendOutcome))
	return nil
}

// statusOf is 202 while an operation is pending, else 200. Problems of several operations get their index.
func statusOf(outcomes []model.Outcome, single bool) int {
	status := http.StatusOK
	for i := range outcomes {
		o := &outcomes[i]
		if o.Status == model.Pending {
			status = http.StatusAccepted
		}
		if o.Problem != nil && !single {
			p := *o.Problem
			p.Index = &i
			o.Problem = &p
		}
	}
	return status
}

// waits reads ?wait=committed (the default) or ?wait=accepted.
func waits(query string) (bool, error) {
	switch query {
	case "", "wait=committed":
		return true, nil
	case "wait=accepted":
		return false, nil
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return false, model.E(model.CodeBadValue, "wait").OneOf("committed", "accepted")
	}
	for name, values := range q {
		if name != "wait" {
			return false, model.E(model.CodeUnknownField, "query")
		}
		if len(values) != 1 || (values[0] != "committed" && values[0] != "accepted") {
			return false, model.E(model.CodeBadValue, "wait").OneOf("committed", "accepted")
		}
	}
	return q.Get("wait") != "accepted", nil
}

func validKey(key string) bool {
	if len(key) > 128 {
		return false
	}
	for i := 0; i < len(key); i++ {
		if key[i] < 0x21 || key[i] > 0x7e {
			return false
		}
	}
	return true
}

// requestDigest is what makes two requests under one key the same: route and body, byte for byte.
func requestDigest(r *http.Request, body []byte) model.Digest {
	h := sha256.New()
	h.Write([]byte("zhenglian:request:v1\n" + r.Method + " " + r.URL.Path + "\n" + strconv.Itoa(len(body)) + "\n"))
	h.Write(body)
	return model.Digest(h.Sum(nil))
}

type outcomeInput struct {
	ID string `path:"id" doc:"The operation's id, 32 hexadecimal digits."`
}

func (a *API) getOutcome(ctx context.Context, in *outcomeInput) (*output[model.Outcome], error) {
	var id model.OpID
	if err := id.UnmarshalText([]byte(in.ID)); err != nil {
		return nil, model.E(model.CodeBadID, "id")
	}
	o, err := a.intake.Outcome(ctx, id)
	return &output[model.Outcome]{o}, err
}
