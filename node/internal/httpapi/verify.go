package httpapi

import (
	"net/http"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// postVerify answers one query with one verdict, an array with an array.
func (a *API) postVerify(x *exchange) error {
	in := buffers.Get().(*[]byte)
	body, err := x.body(*in)
	if err != nil {
		buffers.Put(in)
		return err
	}
	defer putBuffer(in, body)
	queries, single, err := decodeQueries(body, model.DateOf(a.now()))
	if err != nil {
		return err
	}
	verdicts := a.verifier.Verify(x.r.Context(), queries)
	if err := x.verified(queries, verdicts); err != nil {
		return err
	}
	out := buffers.Get().(*[]byte)
	answer := appendList((*out)[:0], single, verdicts, appendVerdict)
	defer putBuffer(out, answer)
	x.answer(http.StatusOK, answer)
	return nil
}

// postPublicVerify answers anybody: the word and its reason, nothing else of the record.
func (a *API) postPublicVerify(x *exchange) error {
	var in sdk.PublicQuery
	if _, err := x.decode(&in); err != nil {
		return err
	}
	q := model.Query{Identifier: in.Identifier, Number: in.Number, Type: in.Type}
	if err := checkQuery(&q, model.DateOf(a.now())); err != nil {
		return err
	}
	v := a.verifier.Verify(x.r.Context(), []model.Query{q})[0]
	return x.answerValue(http.StatusOK, sdk.PublicVerdict{
		Verdict: v.Verdict, Reason: v.Reason, Zh: v.Zh, En: v.En, Since: v.Since, At: v.At, Height: v.Height, AgeMS: v.AgeMS,
	})
}
