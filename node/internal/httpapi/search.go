package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Search finds licences. Safe for concurrent use. Errors are *model.Error, search_rebuilding while the index is made
// anew among them.
type Search interface {
	// Page finds what comes after a cursor ("": from the first), at most limit; for the people of an agency ("" for a
	// hosted party's), who alone find and see the confidential holders of their own tree.
	Page(ctx context.Context, s sdk.LicenceSearch, agency model.AgencyID, after string, limit int, count bool) (sdk.LicencePage, error)
	// Walk calls f with everything found, until f returns an error, which Walk returns.
	Walk(ctx context.Context, s sdk.LicenceSearch, agency model.AgencyID, f func(*sdk.FoundLicence) error) error
}

// Actions of searching. A verifier asks about a licence that is before it and does not search.
const (
	ActionSearch       = "search"
	ActionSearchExport = "search.export"
)

var (
	routeSearch       = &route{method: "GET", path: "/v1/search/licences", id: "search-licences", tag: "search", action: ActionSearch, summary: "Find licences", zh: "检索证照"}
	routeSearchExport = &route{method: "GET", path: "/v1/search/licences/export", id: "export-licences", tag: "search", action: ActionSearchExport, summary: "What was found as a file for a spreadsheet", zh: "导出检索结果"}
)

const (
	defaultFound   = 50
	maxSearchQuery = 8 << 10 // bytes of a query string
)

// getSearch answers a page.
func (a *API) getSearch(x *exchange) error {
	v, err := searchValues(x.r)
	if err != nil {
		return err
	}
	limit, after, count := defaultFound, v.Get("after"), v.Get("count") == "true"
	for name, ok := range map[string]bool{
		"after": len(v["after"]) < 2,
		"count": len(v["count"]) < 2 && (!v.Has("count") || count || v.Get("count") == "false"),
	} {
		if !ok {
			return model.E(model.CodeBadValue, name)
		}
	}
	if v.Has("limit") {
		n, err := strconv.Atoi(v.Get("limit"))
		if err != nil || n < 1 || n > sdk.MaxFound || len(v["limit"]) > 1 {
			return model.E(model.CodeBadValue, "limit").With("1 to %d", sdk.MaxFound)
		}
		limit = n
	}
	v.Del("after")
	v.Del("count")
	v.Del("limit")
	s, err := sdk.ParseLicenceSearch(v)
	if err != nil {
		return err
	}
	page, err := x.find(s, after, limit, count)
	if err != nil {
		return err
	}
	if page.Licences == nil {
		page.Licences = []sdk.FoundLicence{}
	}
	for i := range page.Licences {
		x.touched(model.KindLicence, string(page.Licences[i].Record))
	}
	return x.answerValue(http.StatusOK, page)
}

func searchValues(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > maxSearchQuery {
		return nil, model.E(model.CodeTooLong, "query")
	}
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, model.E(model.CodeBadValue, "query")
	}
	return v, nil
}

// noSearch stands in for a search that the node was not given.
type noSearch struct{}

func (noSearch) Page(context.Context, sdk.LicenceSearch, model.AgencyID, string, int, bool) (sdk.LicencePage, error) {
	return sdk.LicencePage{}, model.E(model.CodeSearchRebuilding)
}

func (noSearch) Walk(context.Context, sdk.LicenceSearch, model.AgencyID, func(*sdk.FoundLicence) error) error {
	return model.E(model.CodeSearchRebuilding)
}

// writeSearch documents the routes of searching.
func (d *document) writeSearch() {
	text := func(name, says string) *huma.Param {
		return &huma.Param{Name: name, In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: says}
	}
	many := func(name, says string) *huma.Param {
		explode := true
		return &huma.Param{Name: name, In: "query", Explode: &explode, Description: says,
			Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}}}
	}
	filters := func() []*huma.Param {
		p := []*huma.Param{
			text("holder_code", "The holder's whole code."), text("holder_name", "The holder's whole name; widths, case, kinds of brackets, spaces and middle dots count for nothing."),
			text("text", "Words that all stand in the holder's name."), text("issuer", "An agency with those below it, or one USCC."),
			text("owner", "The agency that may change the licence, with those below it."), many("type", "One of these licence types."),
			text("number", "The whole number."), text("number_prefix", "What the number begins with."), many("state", "One of these states."),
			many("region", "One of these regions, with what is subordinate to it."),
		}
		for _, field := range []string{"issued_on", "valid_from", "valid_until"} {
			p = append(p, text(field+"_min", "First day of a stretch of days."), text(field+"_max", "Its last day."))
		}
		return append(p,
			&huma.Param{Name: "expiring", In: "query", Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Not ended, and its last day is within so many days from today."},
			&huma.Param{Name: "legacy", In: "query", Schema: &huma.Schema{Type: huma.TypeBoolean}, Description: "true: only what was taken over with a holder's code that does not check, whose verdict is undetermined until a correction."},
			&huma.Param{Name: "sort", In: "query", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"newest", "oldest", "number", "valid_until", "holder_name"}},
				Description: "newest by default; of an export, which cannot go by it, oldest."})
	}
	op := d.operation(routeSearch)
	op.Description += " Pages stay right while others write. The count is exact up to 10,000; `more` says that there are more."
	op.Parameters = append(filters(),
		text("after", "The `next` of the page before; for the same search only."),
		&huma.Param{Name: "limit", In: "query", Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "At most so many, 1 to 200; 50 by default."},
		&huma.Param{Name: "count", In: "query", Schema: &huma.Schema{Type: huma.TypeBoolean}, Description: "Count all matches."})
	op.Responses["200"] = &huma.Response{Description: "OK", Content: content("application/json", d.schema(sdk.LicencePage{}))}
	d.config.AddOperation(&op)

	export := d.operation(routeSearchExport)
	export.Description += " At most 1,048,575 licences. An answer that is cut off is not whole."
	export.Parameters = append(filters(), &huma.Param{Name: "format", In: "query", Required: true,
		Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"csv", "xlsx"}}, Description: "The kind of file."})
	export.Responses["200"] = &huma.Response{Description: "The file", Content: map[string]*huma.MediaType{
		csvType[0]: {Schema: &huma.Schema{Type: huma.TypeString}}, xlsxType[0]: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	d.config.AddOperation(&export)
}
