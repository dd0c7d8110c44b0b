package sdk

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// LicenceSearch says which licences are looked for: those that fit everything that is given. It stands whole in a
// query string, so that a search is saved as a URL; docs/spec/search.md has the parameters.
type LicenceSearch struct {
	HolderCode   string           // the whole code
	HolderName   string           // the whole name, folded: widths, case, brackets, spaces and middle dots count for nothing
	Text         string           // words that all stand in the holder's name, folded likewise
	Issuer       string           // an agency with those below it, or one USCC
	Owner        model.AgencyID   // the agency that may change it, with those below it
	Types        []model.TypeCode // one of them
	Number       string           // the whole number, folded
	NumberPrefix string           // its beginning, folded
	States       []model.State    // one of them
	Regions      []model.Region   // one of them, with what is subordinate to it
	IssuedOn     Days             // both ends count
	ValidFrom    Days             // likewise
	ValidUntil   Days             // likewise; what has no end (长期) is beyond every day
	Expiring     int              // not ended, and its last day is within so many days from today; 0: no matter
	Legacy       bool             // only what was taken over with a holder's code that does not check
	Sort         LicenceOrder     // default: SortNewest
}

// Days is a stretch of days, both ends included; an empty end is open.
type Days struct{ Min, Max model.Date }

// LicenceOrder is the order of what was found.
type LicenceOrder string

// Orders. Equal ones are in the order of the log.
const (
	SortNewest     LicenceOrder = "newest"      // what was changed last comes first
	SortOldest     LicenceOrder = "oldest"      // in the order of the log
	SortNumber     LicenceOrder = "number"      // by code points
	SortValidUntil LicenceOrder = "valid_until" // without end last
	SortHolderName LicenceOrder = "holder_name" // by code points; of a confidential holder as if it had none
)

// Limits of a search.
const (
	MaxSearchText  = 200    // characters of a text
	MaxSearchWords = 8      // words of Text
	MaxSearchAny   = 32     // values of Types, States, Regions
	MaxExpiring    = 3650   // days
	MaxFound       = 200    // licences on a page
	CountedFound   = 10_000 // matches are counted exactly up to here
)

// Query is the search as parameters, in one order, so that equal searches have equal texts.
func (s *LicenceSearch) Query() url.Values {
	v := url.Values{}
	for _, p := range s.texts() {
		if *p.value != "" {
			v.Set(p.name, *p.value)
		}
	}
	for name, values := range map[string][]string{"type": texts(s.Types), "state": texts(s.States), "region": texts(s.Regions)} {
		if len(values) > 0 {
			slices.Sort(values)
			v[name] = slices.Compact(values)
		}
	}
	for _, p := range s.days() {
		if *p.value != "" {
			v.Set(p.name, string(*p.value))
		}
	}
	for name, value := range map[string]string{"owner": string(s.Owner), "sort": string(s.Sort)} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if s.Expiring != 0 {
		v.Set("expiring", strconv.Itoa(s.Expiring))
	}
	if s.Legacy {
		v.Set("legacy", "true")
	}
	return v
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = string(x)
	}
	return out
}

type namedText struct {
	name  string
	value *string
}

func (s *LicenceSearch) texts() []namedText {
	return []namedText{
		{"holder_code", &s.HolderCode}, {"holder_name", &s.HolderName}, {"text", &s.Text}, {"issuer", &s.Issuer},
		{"number", &s.Number}, {"number_prefix", &s.NumberPrefix},
	}
}

type namedDay struct {
	name  string
	value *model.Date
}

func (s *LicenceSearch) days() []namedDay {
	return []namedDay{
		{"issued_on_min", &s.IssuedOn.Min}, {"issued_on_max", &s.IssuedOn.Max},
		{"valid_from_min", &s.ValidFrom.Min}, {"valid_from_max", &s.ValidFrom.Max},
		{"valid_until_min", &s.ValidUntil.Min}, {"valid_until_max", &s.ValidUntil.Max},
	}
}

// ParseLicenceSearch reads parameters and checks them. Errors are *model.Error and name the parameter, never its value.
func ParseLicenceSearch(v url.Values) (LicenceSearch, error) {
	var s LicenceSearch
	known := map[string]func(values []string) error{
		"type":   func(values []string) error { return each(&s.Types, values, model.ParseTypeCode) },
		"state":  func(values []string) error { return each(&s.States, values, parseState) },
		"region": func(values []string) error { return each(&s.Regions, values, model.ParseRegion) },
		"owner":  one(&s.Owner, model.ParseAgencyID),
		"sort":   one(&s.Sort, parseOrder),
		"legacy": one(&s.Legacy, func(t string) (bool, error) {
			if t != "true" {
				return false, model.E(model.CodeBadValue).With("true, or left out")
			}
			return true, nil
		}),
		"expiring": one(&s.Expiring, func(t string) (int, error) {
			n, err := strconv.Atoi(t)
			if err != nil || n < 1 || n > MaxExpiring {
				return 0, model.E(model.CodeBadValue).With("1 to %d days", MaxExpiring)
			}
			return n, nil
		}),
	}
	for _, p := range s.texts() {
		known[p.name] = one(p.value, parseText)
	}
	for _, p := range s.days() {
		known[p.name] = one(p.value, model.ParseDate)
	}
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same mistakes get the same answer
	for _, name := range names {
		read := known[name]
		if read == nil {
			return s, model.E(model.CodeUnknownField, "query")
		}
		if err := read(v[name]); err != nil {
			e := *model.AsError(err)
			e.Field = name
			return s, &e
		}
	}
	if n := len(strings.Fields(s.Text)); n > MaxSearchWords {
		return s, model.E(model.CodeBadValue, "text").With("at most %d words", MaxSearchWords)
	}
	return s, nil
}

func one[T any](into *T, parse func(string) (T, error)) func([]string) error {
	return func(values []string) (err error) {
		if len(values) != 1 {
			return model.E(model.CodeDuplicateKey)
		}
		if values[0] == "" {
			return model.E(model.CodeMissingField)
		}
		*into, err = parse(values[0])
		return err
	}
}

func each[T any](into *[]T, values []string, parse func(string) (T, error)) error {
	if len(values) > MaxSearchAny {
		return model.E(model.CodeBadValue).With("at most %d values", MaxSearchAny)
	}
	for _, value := range values {
		var x T
		if err := one(&x, parse)([]string{value}); err != nil {
			return err
		}
		*into = append(*into, x)
	}
	return nil
}

func parseText(s string) (string, error) {
	switch {
	case !utf8.ValidString(s):
		return "", model.E(model.CodeBadUTF8)
	case utf8.RuneCountInString(s) > MaxSearchText:
		return "", model.E(model.CodeTooLong)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", model.E(model.CodeControlCharacter)
	case strings.TrimSpace(s) == "":
		return "", model.E(model.CodeMissingField)
	}
	return s, nil
}

func parseState(s string) (model.State, error) {
	if !slices.Contains(model.Machines[model.KindLicence].States, model.State(s)) {
		return "", model.E(model.CodeBadValue).With("no state of a licence")
	}
	return model.State(s), nil
}

func parseOrder(s string) (LicenceOrder, error) {
	switch o := LicenceOrder(s); o {
	case SortNewest, SortOldest, SortNumber, SortValidUntil, SortHolderName:
		return o, nil
	}
	return "", model.E(model.CodeBadValue).With("newest, oldest, number, valid_until or holder_name")
}

// FoundLicence is a licence as the search index has it.
type FoundLicence struct {
	Record     model.RecordID   `json:"record"`
	Version    uint64           `json:"version"`
	State      model.State      `json:"state"`
	Type       model.TypeCode   `json:"type"`
	Number     string           `json:"number"`
	Identifier model.LicenceID  `json:"identifier"`
	Issuer     model.USCC       `json:"issuer"`
	Owner      model.AgencyID   `json:"owner"`
	Region     model.Region     `json:"region"`
	IssuedOn   model.Date       `json:"issued_on"`
	ValidFrom  model.Date       `json:"valid_from"`
	ValidUntil model.Date       `json:"valid_until"` // "": 长期
	HolderKind model.HolderKind `json:"holder_kind"`
	// HolderCode and HolderName of a person are there only for the owning agency's own people, at the node that
	// keeps them; Confidential says then that they came from there.
	HolderCode   string `json:"holder_code,omitempty"`
	HolderName   string `json:"holder_name,omitempty"`
	Confidential bool   `json:"confidential,omitempty"`
	// Legacy: taken over with a holder's code that does not check, so that its verdict is undetermined, whatever its
	// state, until a correction.
	Legacy   bool       `json:"legacy,omitempty"`
	Position uint64     `json:"position"` // of its latest leaf
	Updated  model.Time `json:"updated"`  // ledger time of that leaf
}

// LicencePage is a page of what was found.
type LicencePage struct {
	Licences []FoundLicence `json:"licences"`
	Next     string         `json:"next,omitempty"`  // pass as after; absent on the last page
	Count    *int           `json:"count,omitempty"` // of all matches, where it was asked for
	More     bool           `json:"more,omitempty"`  // there are more than Count
	At       Reflects       `json:"at"`              // what the search index reflects
	Behind   uint64         `json:"behind"`          // leaves that the records have and the index not yet
}

// SearchPage asks for one page: at most limit licences (0: 50) after a cursor ("": from the first). count asks how many
// match in all.
func (c *Client) SearchPage(ctx context.Context, s LicenceSearch, limit int, after string, count bool) (LicencePage, error) {
	v := s.Query()
	if limit > 0 {
		v.Set("limit", strconv.Itoa(limit))
	}
	if after != "" {
		v.Set("after", after)
	}
	if count {
		v.Set("count", "true")
	}
	return get[LicencePage](ctx, c, searchPath+"?"+v.Encode())
}

const searchPath = "/v1/search/licences"

// Search walks everything that was found, asking for more as it goes. It ends with the first error.
func (c *Client) Search(ctx context.Context, s LicenceSearch) iter.Seq2[FoundLicence, error] {
	return func(yield func(FoundLicence, error) bool) {
		for after := ""; ; {
			page, err := c.SearchPage(ctx, s, MaxFound, after, false)
			if err != nil {
				yield(FoundLicence{}, err)
				return
			}
			for _, l := range page.Licences {
				if !yield(l, nil) {
					return
				}
			}
			if after = page.Next; after == "" {
				return
			}
		}
	}
}

// ExportSearch writes everything that was found to w as a file for a spreadsheet, "csv" or "xlsx". Where it fails, what
// w has is not whole.
func (c *Client) ExportSearch(ctx context.Context, s LicenceSearch, format string, w io.Writer) error {
	v := s.Query()
	v.Set("format", format)
	return c.download(ctx, searchPath+"/export?"+v.Encode(), w)
}

// download writes a long answer to w as it comes.
func (c *Client) download(ctx context.Context, path string, w io.Writer) error {
	req, err := c.request(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	res, err := c.streaming().Do(req)
	if err != nil {
		return giveUp(call{}, asTransport(err), false)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, err := readAnswer(res)
		if err != nil {
			return giveUp(call{}, err, false)
		}
		return problemError(res.StatusCode, body)
	}
	if _, err := io.Copy(w, res.Body); err != nil {
		return giveUp(call{}, &transportError{err, true}, false)
	}
	return nil
}
