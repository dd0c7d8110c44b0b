package httpapi

import (
	"net/http"

	"github.com/zhenglian/zhenglian/sdk"
)

// described is a caller that tells more of itself than the API needs.
type described interface{ Whoami() sdk.Whoami }

// getWhoami tells the caller who he is here.
func (a *API) getWhoami(x *exchange) error {
	who := sdk.Whoami{ID: x.caller.ID(), Name: x.caller.Name(), Agency: x.caller.Agency(), Person: x.caller.Person()}
	if d, ok := x.caller.(described); ok {
		who = d.Whoami()
	}
	return x.answerValue(http.StatusOK, who)
}
