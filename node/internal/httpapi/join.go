package httpapi

import (
	"context"
	"net/http"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Joining answers whoever comes with an invitation. Safe for concurrent use.
type Joining interface {
	// Join answers a request of the body's bytes, or returns the error to answer with: unauthenticated for every
	// invitation that there is not.
	Join(ctx context.Context, body []byte) (answer any, err error)
}

// postJoin lets an invited node of the same organisation in. It is open, since who comes has no key yet: the token of the
// invitation is the right, and addresses are rate-limited.
func (a *API) postJoin(x *exchange) error {
	if a.joining == nil {
		return model.E(model.CodeNotFound)
	}
	body, err := x.body(nil)
	if err != nil {
		return err
	}
	answer, err := a.joining.Join(x.r.Context(), body)
	if err != nil {
		return err
	}
	return x.answerValue(http.StatusOK, answer)
}
