package httpapi

import (
	"net/http"

	"github.com/zhenglian/zhenglian/sdk"
)

// readiness is the worst of the components.
func (a *API) readiness() sdk.Readiness {
	r := sdk.Readiness{Status: sdk.OK, Components: a.health.Components()}
	for _, c := range r.Components {
		switch {
		case c.Status == sdk.OK, r.Status == sdk.Failed:
		case c.Status == sdk.Degraded:
			r.Status = sdk.Degraded
		default:
			r.Status = sdk.Failed
		}
	}
	return r
}

func readyStatus(s sdk.Status) int {
	if s == sdk.Failed {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

type statusWord struct {
	Status sdk.Status `json:"status"`
}

// getHealthz says that the process lives and answers.
func (a *API) getHealthz(x *exchange) error {
	return x.answerValue(http.StatusOK, statusWord{sdk.OK})
}

// getReadyz says one word to anybody; why, only the admin listener says.
func (a *API) getReadyz(x *exchange) error {
	s := a.readiness().Status
	return x.answerValue(readyStatus(s), statusWord{s})
}
