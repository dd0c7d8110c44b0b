package search

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Slowest is how long a page may take before it is given up.
const Slowest = 2 * time.Second

// slowestChunk is the same for a part of an export.
const slowestChunk = 15 * time.Second

// chunk is how many rows an export reads at once. Between two of them it holds nothing, so that a slow reader keeps
// nothing waiting.
const chunk = 2000

// Found is a page.
type Found struct {
	Licences []sdk.FoundLicence
	Next     string
	Count    int // −1 where it was not asked for
	More     bool
	Position uint64 // leaves that the index reflects
	Block    uint64 // of the last of them
}

// Page finds the licences after a cursor, at most limit. Errors are *model.Error: search_rebuilding, search_too_broad
// where it takes longer than Slowest, bad_value for a cursor of another search. Safe for concurrent use.
//
// A licence that does not change is never on two pages and never on none, whatever is written meanwhile: pages go by
// (sort key, position), and it keeps both. One that changes gets a new position.
func (x *Index) Page(ctx context.Context, q *Query, after string, limit int, count bool) (Found, error) {
	start := time.Now()
	f, err := x.page(ctx, q, after, limit, count, Slowest)
	x.metrics.pages.Observe(time.Since(start).Seconds())
	return f, err
}

func (x *Index) page(ctx context.Context, q *Query, after string, limit int, count bool, slowest time.Duration) (Found, error) {
	p, err := newPlan(q)
	if err != nil {
		return Found{}, err
	}
	sort := q.Sort
	if sort == "" {
		sort = sdk.SortNewest
	}
	from, err := x.cursor(q, sort, after)
	if err != nil {
		return Found{}, err
	}
	d, err := x.serving()
	if err != nil {
		return Found{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, slowest)
	defer cancel()
	conn, err := d.readers.Conn(bounded)
	if err != nil {
		if ctx.Err() == nil && bounded.Err() != nil {
			return Found{}, model.E(model.CodeRateLimited).With("too many searches at once")
		}
		return Found{}, x.failed(ctx, bounded, d, err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(bounded, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return Found{}, x.failed(ctx, bounded, d, err)
	}
	defer tx.Rollback() // it only reads
	r := reading{ctx: bounded, tx: tx, plan: p, order: sorts[sort], from: from}
	f, err := r.page(limit, count)
	if err != nil {
		return Found{}, x.failed(ctx, bounded, d, err)
	}
	if len(f.Licences) > limit {
		f.Licences = f.Licences[:limit]
		f.Next = x.nextCursor(q, sort, &r, limit)
	}
	return f, nil
}

// failed says what an error of the database means for who asked.
func (x *Index) failed(ctx, bounded context.Context, d *file, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case bounded.Err() != nil:
		return model.E(model.CodeSearchTooBroad)
	case damaged(err):
		x.damage(d, err)
		return x.rebuildingError()
	case errors.Is(err, sql.ErrConnDone), strings.Contains(err.Error(), "database is closed"): // set aside meanwhile
		return x.rebuildingError()
	}
	return model.E(model.CodeInternal).Because(err)
}

// Walk calls f with everything that fits, in the query's order; f ends it with an error, which Walk returns. It holds no
// row back from the writer: it reads parts, and what changes between two of them can stand twice, in its old and its
// new form, but nothing that fits is missed (SortNewest cannot promise that and is refused).
func (x *Index) Walk(ctx context.Context, q *Query, f func(*sdk.FoundLicence) error) error {
	if q.Sort == sdk.SortNewest {
		return model.E(model.CodeBadValue, "sort").With("an export goes from the oldest, so that what changes meanwhile is not missed")
	}
	in := *q
	if in.Sort == "" {
		in.Sort = sdk.SortOldest
	}
	for after := ""; ; {
		page, err := x.page(ctx, &in, after, chunk, false, slowestChunk)
		if err != nil {
			return err
		}
		for i := range page.Licences {
			if err := f(&page.Licences[i]); err != nil {
				return err
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// reading is one page being read, in one transaction.
type reading struct {
	ctx   context.Context
	tx    *sql.Tx
	plan  *plan
	order order
	from  *place
	keys  []place // of the licences found
}

// place is a place in an order.
type place struct {
	Key string `json:"k,omitempty"`
	Pos int64  `json:"p"`
}

func (o order) before(a, b place) bool {
	if o.key != "" && a.Key != b.Key {
		return a.Key < b.Key
	}
	return (a.Pos < b.Pos) != o.desc
}

func (r *reading) page(limit int, count bool) (Found, error) {
	f := Found{Count: -1}
	var next, block int64
	if err := r.tx.QueryRowContext(r.ctx, "SELECT next, block FROM state").Scan(&next, &block); err != nil {
		return f, err
	}
	f.Position, f.Block = uint64(next), uint64(block)
	var sources []string
	p := r.plan
	if !p.nothing {
		source, err := r.source()
		if err != nil {
			return f, err
		}
		sources = append(sources, source)
		if p.holders && len(p.see) > 0 {
			sources = append(sources, byHolders)
		}
	}
	if count {
		f.Count = 0
		for _, s := range sources {
			n, err := r.count(s)
			if err != nil {
				return f, err
			}
			f.Count += n
		}
		if f.Count > sdk.CountedFound {
			f.Count, f.More = sdk.CountedFound, true
		}
	}
	for _, s := range sources {
		found, keys, err := r.rows(s, limit+1)
		if err != nil {
			return f, err
		}
		f.Licences, r.keys = r.order.merge(f.Licences, r.keys, found, keys)
	}
	return f, nil
}

// Up to so many matches are found by their terms and sorted; where more match, walking in the order meets the next ones
// sooner. Of a stretch of valid_until the walk in that order sees nothing else.
var fewMatches, fewInStretch = 2000, 200 // changed by tests only

// source chooses between the index of terms and the table in its own order.
func (r *reading) source() (string, error) {
	p := r.plan
	m := p.match.String()
	if m == "" {
		return "", nil
	}
	if r.order.key == "" || !p.whole {
		return byWords, nil
	}
	few := fewMatches
	if r.order.key == "l.valid_until" && p.stretch {
		few = fewInStretch
	}
	var n int
	err := r.tx.QueryRowContext(r.ctx, "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)", m, few+1).Scan(&n)
	if n > few {
		return "", err
	}
	return byWords, err
}

func (r *reading) count(source string) (n int, err error) {
	where, args := r.plan.where(source, sorts[sdk.SortOldest])
	if source == byWords && r.plan.exact() {
		where, args = "words WHERE words MATCH ?", []any{r.plan.match.String()}
	}
	err = r.tx.QueryRowContext(r.ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s LIMIT %d)", where, sdk.CountedFound+1), args...).Scan(&n)
	return n, err
}

// rows reads the first limit rows of a source after r.from, with their places.
func (r *reading) rows(source string, limit int) (found []sdk.FoundLicence, keys []place, err error) {
	o := r.order
	where, args := r.plan.where(source, o)
	pos := "l.pos"
	if source != "" {
		pos = source + ".rowid"
	}
	var by string
	if o.key != "" {
		by = o.key + ", "
	}
	by += pos
	if o.desc {
		by += " DESC"
	}
	if r.from != nil {
		joint := " WHERE "
		if strings.Contains(where, joint) {
			joint = " AND "
		}
		switch {
		case o.key != "":
			where += joint + "(" + o.key + ", l.pos) > (?, ?)"
			args = append(args, r.from.Key)
		case o.desc:
			where += joint + pos + " < ?"
		default:
			where += joint + pos + " > ?"
		}
		args = append(args, r.from.Pos)
	}
	args = append(args, limit)
	rows, err := r.tx.QueryContext(r.ctx, "SELECT "+rowColumns+", h.code, h.name FROM "+where+" ORDER BY "+by+" LIMIT ?", args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var l row
		var code, name sql.NullString
		if err := rows.Scan(append(l.fields(), &code, &name)...); err != nil {
			return nil, nil, err
		}
		if err := l.check(); err != nil {
			return nil, nil, err
		}
		f := l.found()
		if code.Valid && r.plan.sees(l.owner) {
			f.HolderCode, f.HolderName, f.Confidential = code.String, name.String, true
		}
		key := place{Pos: l.pos}
		switch o.key {
		case "l.number":
			key.Key = l.number
		case "l.valid_until":
			key.Key = l.validUntil
		case "l.holder_name":
			key.Key = l.holderName
		}
		found, keys = append(found, f), append(keys, key)
	}
	return found, keys, rows.Err()
}

func (p *plan) sees(owner string) bool {
	for _, a := range p.see {
		if a == owner {
			return true
		}
	}
	return false
}

// merge puts two sorted lists together.
func (o order) merge(a []sdk.FoundLicence, ak []place, b []sdk.FoundLicence, bk []place) ([]sdk.FoundLicence, []place) {
	if len(b) == 0 {
		return a, ak
	}
	if len(a) == 0 {
		return b, bk
	}
	out, keys := make([]sdk.FoundLicence, 0, len(a)+len(b)), make([]place, 0, len(a)+len(b))
	for len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && o.before(ak[0], bk[0]) {
			out, keys, a, ak = append(out, a[0]), append(keys, ak[0]), a[1:], ak[1:]
		} else {
			out, keys, b, bk = append(out, b[0]), append(keys, bk[0]), b[1:], bk[1:]
		}
	}
	return out, keys
}

// A cursor is a place and a keyed hash of it and the search that it belongs to, in base64url.
const cursorMAC = 12

func (x *Index) mac(q *Query, sort sdk.LicenceOrder, place []byte) []byte {
	s := q.LicenceSearch
	s.Sort = sort
	m := hmac.New(sha256.New, x.secret)
	m.Write([]byte("zhenglian:search:v1\n" + s.Query().Encode() + "\n"))
	m.Write(place)
	return m.Sum(nil)[:cursorMAC]
}

func (x *Index) nextCursor(q *Query, sort sdk.LicenceOrder, r *reading, limit int) string {
	raw, err := json.Marshal(r.keys[limit-1])
	if err != nil {
		panic(err) // a text and a number
	}
	return base64.RawURLEncoding.EncodeToString(append(x.mac(q, sort, raw), raw...))
}

// cursor reads a cursor, nil for "".
func (x *Index) cursor(q *Query, sort sdk.LicenceOrder, s string) (*place, error) {
	if s == "" {
		return nil, nil
	}
	bad := model.E(model.CodeBadValue, "after").With("not a place in this search: begin it anew")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) <= cursorMAC || len(s) > maxCursor {
		return nil, bad
	}
	if !hmac.Equal(raw[:cursorMAC], x.mac(q, sort, raw[cursorMAC:])) {
		return nil, bad
	}
	p := new(place)
	if err := json.Unmarshal(raw[cursorMAC:], p); err != nil {
		return nil, bad
	}
	return p, nil
}

const maxCursor = 2048
