package search

import (
	"errors"
	"hash/crc32"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/fold"
	"github.com/zhenglian/zhenglian/sdk"
)

// row is a row of the table licences.
type row struct {
	pos        int64 // of the latest leaf
	record     string
	version    int64
	state      string
	typ        string
	number     string
	identifier string
	issuer     string
	owner      string
	region     string
	issuedOn   string
	validFrom  string
	validUntil string // endless for none
	holderKind string
	holderCode string
	holderName string
	nameKey    string // the folded name, "" where folding changes nothing
	legacy     string // "1": taken over with a code that does not check; else ""
	updated    int64  // Unix milliseconds
	sum        int64
}

// The table's columns in the order of fields.
const rowColumns = "l.pos,l.record,l.version,l.state,l.type,l.number,l.identifier,l.issuer,l.owner,l.region," +
	"l.issued_on,l.valid_from,l.valid_until,l.holder_kind,l.holder_code,l.holder_name,l.name_key,l.legacy,l.updated,l.sum"

func (r *row) fields() []any {
	return []any{&r.pos, &r.record, &r.version, &r.state, &r.typ, &r.number, &r.identifier, &r.issuer, &r.owner, &r.region,
		&r.issuedOn, &r.validFrom, &r.validUntil, &r.holderKind, &r.holderCode, &r.holderName, &r.nameKey, &r.legacy, &r.updated, &r.sum}
}

func (r *row) values() []any {
	return []any{r.pos, r.record, r.version, r.state, r.typ, r.number, r.identifier, r.issuer, r.owner, r.region,
		r.issuedOn, r.validFrom, r.validUntil, r.holderKind, r.holderCode, r.holderName, r.nameKey, r.legacy, r.updated, r.sum}
}

func (r *row) folded() string {
	if r.nameKey != "" {
		return r.nameKey
	}
	return r.holderName
}

// set takes what a licence's public value says.
func (r *row) set(v *model.Licence) {
	r.typ, r.number, r.identifier, r.issuer, r.region = string(v.Type), v.Number, string(v.Identifier), string(v.Issuer), string(v.Region)
	r.issuedOn, r.validFrom, r.validUntil = string(v.IssuedOn), string(v.ValidFrom), dayText(v.ValidUntil)
	r.holderKind, r.holderCode, r.holderName, r.nameKey = string(v.HolderKind), string(v.HolderCode), v.HolderName, ""
	if f := fold.Text(v.HolderName); f != v.HolderName {
		r.nameKey = f
	}
	if r.legacy = ""; v.Legacy != "" {
		r.legacy = isLegacy
	}
}

const isLegacy = "1"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is over everything that is shown of a row: SQLite's pages have none of their own.
func (r *row) checksum() int64 {
	b := make([]byte, 0, 512)
	b = strconv.AppendInt(b, r.pos, 10)
	for _, s := range []string{r.record, r.state, r.typ, r.number, r.identifier, r.issuer, r.owner, r.region,
		r.issuedOn, r.validFrom, r.validUntil, r.holderKind, r.holderCode, r.holderName, r.nameKey, r.legacy} {
		b = append(append(b, 0), s...)
	}
	b = strconv.AppendInt(append(b, 0), r.version, 10)
	b = strconv.AppendInt(append(b, 0), r.updated, 10)
	return int64(crc32.Checksum(b, castagnoli))
}

var errDamagedRow = errors.New("search: a row of the index is damaged")

func (r *row) check() error {
	if r.sum != r.checksum() || len(r.region) != 6 || len(r.issuedOn) != 10 || len(r.validFrom) != 10 || len(r.validUntil) != 10 {
		return errDamagedRow
	}
	return nil
}

func (r *row) found() sdk.FoundLicence {
	f := sdk.FoundLicence{
		Record: model.RecordID(r.record), Version: uint64(r.version), State: model.State(r.state), Type: model.TypeCode(r.typ),
		Number: r.number, Identifier: model.LicenceID(r.identifier), Issuer: model.USCC(r.issuer), Owner: model.AgencyID(r.owner),
		Region: model.Region(r.region), IssuedOn: model.Date(r.issuedOn), ValidFrom: model.Date(r.validFrom), ValidUntil: model.Date(r.validUntil),
		HolderKind: model.HolderKind(r.holderKind), HolderCode: r.holderCode, HolderName: r.holderName, Legacy: r.legacy != "",
		Position: uint64(r.pos), Updated: model.TimeOf(milliseconds(r.updated)),
	}
	if r.validUntil == endless {
		f.ValidUntil = ""
	}
	return f
}

// secret is a row of the table holders: what the vault knows of a licence's confidential holder.
type secret struct {
	code, name, folded string
}
