package exchangetable

import (
	"crypto/sha256"
	"database/sql"
	"strconv"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
	"github.com/zhenglian/zhenglian/sdk"
)

// row is a request's content. What is NULL is not valid.
type row struct {
	seq    int64
	id     string
	values [len(columns)]sql.NullString
}

// columns are those that the back office fills in, in the order of row.values. The digest covers them all.
var columns = [...]string{
	"operation", "agency", "record", "version", "licence_type", "number", "holder_kind", "holder_code", "holder_name", "region",
	"issued_on", "valid_from", "valid_until", "face", "confidential_face", "decision_number", "decision_date", "effective_on", "reason",
	"document", "batch", "batch_size",
}

const (
	colOperation = iota
	colAgency
	colRecord
	colVersion
	colLicenceType
	colNumber
	colHolderKind
	colHolderCode
	colHolderName
	colRegion
	colIssuedOn
	colValidFrom
	colValidUntil
	colFace
	colConfidentialFace
	colDecisionNumber
	colDecisionDate
	colEffectiveOn
	colReason
	colDocument
	colBatch
	colBatchSize
)

// jsonColumns may be as long as somebody likes; what is read of them is bounded in the query.
var jsonColumns = map[string]bool{"face": true, "confidential_face": true, "document": true}

// maxJSON is read of a JSON column, in characters: one more than the longest that can be accepted.
const maxJSON = model.MaxOperation + 1

func (r *row) text(col int) string { return r.values[col].String }

// digest is of the row's content: its id and every column of the back office, absent ones told from empty ones.
func (r *row) digest() model.Digest {
	h := sha256.New()
	h.Write([]byte("zhenglian:row:v1\n" + strconv.Itoa(len(r.id)) + ":" + r.id))
	for i, v := range r.values {
		if v.Valid {
			h.Write([]byte(columns[i] + "=" + strconv.Itoa(len(v.String)) + ":" + v.String))
		}
	}
	return model.Digest(h.Sum(nil))
}

// batch is the batch that the row belongs to and its size; zero for a row of its own. A batch with an impossible size
// is none: its rows are refused one by one.
func (r *row) batch() (name string, size int) {
	n, err := strconv.Atoi(r.text(colBatchSize))
	if err != nil || n < 1 || n > model.MaxOperations || r.text(colBatch) == "" {
		return "", 0
	}
	return r.text(colBatch), n
}

// draft is the operation that the row asks for. Errors name the column.
func (r *row) draft(now time.Time) (model.Draft, error) {
	if err := checkID(r.id); err != nil {
		return model.Draft{}, err
	}
	if name, _ := r.batch(); name == "" && (r.values[colBatch].Valid || r.values[colBatchSize].Valid) {
		return model.Draft{}, model.E(model.CodeBadValue, "batch_size").With("batch and batch_size go together; 1 to %d rows", model.MaxOperations)
	}
	d, err := r.operation(now)
	if err != nil {
		return d, err
	}
	if d.Type != model.Type(r.text(colOperation)) {
		return d, model.E(model.CodeBadValue, "operation").With("document has another type")
	}
	return d, nil
}

func (r *row) operation(now time.Time) (model.Draft, error) {
	if r.values[colDocument].Valid {
		for i, v := range r.values {
			switch i {
			case colOperation, colDocument, colBatch, colBatchSize:
			default:
				if v.Valid {
					return model.Draft{}, model.E(model.CodeBadValue, columns[i]).With("with a document this column is NULL")
				}
			}
		}
		d, err := push.DecodeDraft([]byte(r.text(colDocument)))
		return d, in("document", err)
	}
	agency, record := model.AgencyID(r.text(colAgency)), model.RecordID(r.text(colRecord))
	version, err := r.version()
	if err != nil {
		return model.Draft{}, err
	}
	typ := model.Type(r.text(colOperation))
	switch typ {
	case model.LicenceIssue:
		if err := r.absent(colRecord, colVersion, colDecisionNumber, colDecisionDate, colEffectiveOn, colReason); err != nil {
			return model.Draft{}, err
		}
		n := sdk.NewLicence{
			Agency: agency, Type: model.TypeCode(r.text(colLicenceType)), Number: r.text(colNumber), Region: model.Region(r.text(colRegion)),
			Holder:   sdk.Holder{Kind: model.HolderKind(r.text(colHolderKind)), Code: r.text(colHolderCode), Name: r.text(colHolderName)},
			IssuedOn: model.Date(r.text(colIssuedOn)), ValidFrom: model.Date(r.text(colValidFrom)), ValidUntil: model.Date(r.text(colValidUntil)),
		}
		if n.Face, err = r.object(colFace); err != nil {
			return model.Draft{}, err
		}
		if n.ConfidentialFace, err = r.object(colConfidentialFace); err != nil {
			return model.Draft{}, err
		}
		d, err := n.Draft(now)
		return d, column(err)
	case model.LicenceSuspend, model.LicenceResume, model.LicenceDormant, model.LicenceRescind, model.LicenceWithdraw,
		model.LicenceRevoke, model.LicenceCancel, model.LicenceVoidLost:
		if err := r.absent(colLicenceType, colNumber, colHolderKind, colHolderCode, colHolderName, colRegion, colIssuedOn, colValidFrom,
			colValidUntil, colFace, colConfidentialFace); err != nil {
			return model.Draft{}, err
		}
		if record == "" {
			return model.Draft{}, model.E(model.CodeMissingField, "record")
		}
		a := sdk.LicenceAct{
			Agency: agency, Version: version, Effective: model.Date(r.text(colEffectiveOn)), Reason: r.text(colReason),
			Decision: model.Decision{Date: model.Date(r.text(colDecisionDate)), Number: r.text(colDecisionNumber)},
		}
		d, err := a.Draft(typ, record)
		return d, column(err)
	}
	if _, ok := model.Types[typ]; !ok {
		return model.Draft{}, model.E(model.CodeUnknownOperation, "operation")
	}
	return model.Draft{}, model.E(model.CodeMissingField, "document").With("%s is asked for by a document", typ)
}

// absent refuses what the operation does not know: it must not be ignored in silence.
func (r *row) absent(cols ...int) error {
	for _, c := range cols {
		if r.values[c].Valid {
			return model.E(model.CodeUnknownField, columns[c])
		}
	}
	return nil
}

func (r *row) version() (uint64, error) {
	if !r.values[colVersion].Valid {
		return 0, nil
	}
	v, err := strconv.ParseUint(r.text(colVersion), 10, 53)
	if err != nil || v == 0 {
		return 0, model.E(model.CodeBadValue, "version")
	}
	return v, nil
}

// object reads a JSON column.
func (r *row) object(col int) (map[string]any, error) {
	if !r.values[col].Valid {
		return nil, nil
	}
	if len(r.text(col)) > model.MaxOperation {
		return nil, model.E(model.CodeTooLarge, columns[col])
	}
	var m map[string]any
	_, err := model.DecodeStrict([]byte(r.text(col)), &m)
	if err == nil && m == nil {
		err = model.E(model.CodeWrongType)
	}
	return m, in(columns[col], err)
}

// checkID refuses ids that could not be written down or told apart.
func checkID(id string) error {
	if id == "" || strings.TrimSpace(id) != id {
		return model.E(model.CodeBadID, "id")
	}
	for _, c := range id {
		if c < 0x20 || c == 0x7f || c == 0xfffd {
			return model.E(model.CodeBadID, "id")
		}
	}
	return nil
}

// in puts a column before an error's field.
func in(col string, err error) error {
	if err == nil {
		return nil
	}
	e := *model.AsError(err)
	if e.Field != "" {
		col += "." + e.Field
	}
	e.Field = col
	return &e
}

// column names the column in the place of the member that it became.
func column(err error) error {
	if err == nil {
		return nil
	}
	e := *model.AsError(err)
	for member, col := range map[string]int{
		"type": colLicenceType, "holder.code": colHolderCode, "holder.name": colHolderName, "decision.date": colDecisionDate,
		"decision.number": colDecisionNumber, "effective": colEffectiveOn, "holder.kind": colHolderKind,
	} {
		if e.Field == member || e.Field == "value."+strings.ReplaceAll(member, ".", "_") {
			e.Field = columns[col]
		}
	}
	return &e
}
