package httpapi_test

import (
	"context"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// oneFound finds the same licence whatever is asked.
type oneFound struct{}

var found = sdk.FoundLicence{Record: "bj-scjg.1", Version: 1, State: model.InForce, Number: "京A1", HolderName: "=某某食品店"}

func (oneFound) Page(context.Context, sdk.LicenceSearch, model.AgencyID, string, int, bool) (sdk.LicencePage, error) {
	return sdk.LicencePage{Licences: []sdk.FoundLicence{found}}, nil
}

func (oneFound) Walk(_ context.Context, _ sdk.LicenceSearch, _ model.AgencyID, f func(*sdk.FoundLicence) error) error {
	return f(&found)
}

func TestSearchAnswers(t *testing.T) {
	s := open(t, func(c *httpapi.Config, _ *auth.Rates) { c.Search = oneFound{} })
	status, _, raw := s.ask(t, auth.Auditor, "GET", "/v1/search/licences?number_prefix=%E4%BA%AC&limit=5&count=true&sort=number", "")
	if p := decode[sdk.LicencePage](t, raw); status != 200 || len(p.Licences) != 1 || p.Licences[0].Record != "bj-scjg.1" {
		t.Errorf("%d %s", status, raw)
	}
	for _, format := range []string{"csv", "xlsx"} {
		status, h, raw := s.ask(t, auth.Auditor, "GET", "/v1/search/licences/export?format="+format, "")
		if status != 200 || len(raw) == 0 || !strings.Contains(h.Get("Content-Disposition"), "."+format) {
			t.Errorf("%s: %d %v", format, status, h)
		}
	}
	s.refused(t, auth.Verifier, "GET", "/v1/search/licences", "", model.CodeForbidden)
	s.refused(t, auth.Auditor, "GET", "/v1/search/licences?limit=0", "", model.CodeBadValue)
}
