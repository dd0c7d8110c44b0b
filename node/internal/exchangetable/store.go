package exchangetable

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

// store is all SQL. Every call is bounded in time, here and inside the database.
type store struct {
	cfg    *Config
	db     *sql.DB
	skip   string // SKIP LOCKED, where the database has it
	fields string // of a row, for SELECT
}

func newStore(cfg *Config, db *sql.DB) *store {
	s := &store{cfg: cfg, db: db}
	text, date := "CAST(r.%s AS char)", "CAST(r.%s AS char)"
	if cfg.Database == Postgres {
		text, date = "CAST(r.%s AS text)", "to_char(r.%s, 'YYYY-MM-DD')"
	}
	fields := []string{"r.seq", "r.id"}
	for _, c := range columns {
		switch {
		case jsonColumns[c]:
			fields = append(fields, fmt.Sprintf("left("+text+", %d)", c, maxJSON))
		case strings.HasSuffix(c, "_on") || strings.HasPrefix(c, "valid_") || c == "decision_date":
			fields = append(fields, fmt.Sprintf(date, c))
		default:
			fields = append(fields, fmt.Sprintf(text, c))
		}
	}
	s.fields = strings.Join(fields, ", ")
	return s
}

func scan(rows *sql.Rows, r *row, more ...any) error {
	dest := append(make([]any, 0, len(columns)+2+len(more)), &r.seq, &r.id)
	for i := range r.values {
		dest = append(dest, &r.values[i])
	}
	return rows.Scan(append(dest, more...)...)
}

// tx runs f in a transaction.
func (s *store) tx(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.scaled(roundTimeout))
	defer cancel()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := f(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// claim takes up to limit new rows: single ones, and batches that are complete. Rows that somebody holds a lock on are
// passed over, where the database can; with the claim's commit nobody else gets them.
//
// A commit whose answer is lost leaves rows that are taken and unknown here: open finds them by their answer rows.
func (s *store) claim(ctx context.Context, limit int) (groups [][]row, err error) {
	err = s.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		groups = nil
		single, err := s.rows(ctx, tx, fmt.Sprintf(
			"SELECT %s FROM zl_request r WHERE r.taken_at IS NULL AND (r.batch IS NULL OR r.batch_size IS NULL OR r.batch_size NOT BETWEEN 1 AND %d)"+
				" ORDER BY r.seq LIMIT %d FOR UPDATE%s", s.fields, model.MaxOperations, limit, s.skip))
		if err != nil {
			return err
		}
		for i := range single {
			groups = append(groups, single[i:i+1:i+1])
		}
		taken, after := 0, int64(-1)
		for looked := 0; taken < batchesAtOnce && looked < batchesLookedAt; looked++ {
			name, seq, err := s.batch(ctx, tx, after)
			if err != nil {
				return err
			}
			if name == "" {
				break
			}
			after = seq
			batch, err := s.rows(ctx, tx, fmt.Sprintf("SELECT %s FROM zl_request r WHERE r.taken_at IS NULL AND r.batch = ?"+
				" ORDER BY r.seq LIMIT %d FOR UPDATE%s", s.fields, model.MaxOperations+1, s.skip), name)
			if err != nil {
				return err
			}
			if len(batch) > 0 {
				if _, size := batch[0].batch(); len(batch) < size {
					continue // somebody holds one of its rows: the whole batch waits
				}
				groups = append(groups, batch)
				taken++
			}
		}
		for _, g := range groups {
			if err := s.take(ctx, tx, g); err != nil {
				return err
			}
		}
		return nil
	})
	return groups, err
}

// A claim takes so many batches, and for their sake looks at so many: those that somebody holds are passed over.
const (
	batchesAtOnce   = 2
	batchesLookedAt = 100
)

// batch names the oldest complete one whose first row comes after seq; "" where there is none.
func (s *store) batch(ctx context.Context, tx *sql.Tx, after int64) (name string, seq int64, err error) {
	err = tx.QueryRowContext(ctx, s.cfg.placeholders(fmt.Sprintf(
		"SELECT batch, min(seq) FROM zl_request WHERE taken_at IS NULL AND batch IS NOT NULL AND batch_size BETWEEN 1 AND %d"+
			" GROUP BY batch HAVING count(*) >= min(batch_size) AND min(seq) > ? ORDER BY min(seq) LIMIT 1", model.MaxOperations)), after).Scan(&name, &seq)
	if errors.Is(err, sql.ErrNoRows) {
		return "", 0, nil
	}
	return name, seq, err
}

func (s *store) rows(ctx context.Context, tx *sql.Tx, query string, args ...any) (out []row, err error) {
	rows, err := tx.QueryContext(ctx, s.cfg.placeholders(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := scan(rows, &r); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// take writes the rows' first answers and marks them. A row that has an answer already, because its mark was taken
// off, keeps it.
func (s *store) take(ctx context.Context, tx *sql.Tx, rows []row) error {
	insert := "INSERT INTO zl_answer (request_id, seq, unit, batch, node, digest, state, taken_at) VALUES (?, ?, ?, ?, ?, ?, 'taken', ?) ON CONFLICT (request_id) DO NOTHING"
	if s.cfg.Database == MariaDB {
		insert = "INSERT IGNORE INTO zl_answer (request_id, seq, unit, batch, node, digest, state, taken_at) VALUES (?, ?, ?, ?, ?, ?, 'taken', ?)"
	}
	now := time.Now().In(beijing)
	for i := range rows {
		r := &rows[i]
		if _, err := tx.ExecContext(ctx, s.cfg.placeholders(insert), r.id, r.seq, rows[0].seq, r.values[colBatch], s.cfg.Node, r.digest().String(), now); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.cfg.placeholders("UPDATE zl_request SET taken_at = ? WHERE seq = ?"), now, r.seq); err != nil {
			return err
		}
	}
	return nil
}

// opened is an answer with its request's row; gone is set where there is none any more.
type opened struct {
	row
	unit   int64
	digest string // of what was taken
	state  push.State
	code   string
	gone   bool
}

// open lists the rows of this node's units that have an answer that is not final, in the order of units, after one.
func (s *store) open(ctx context.Context, after int64, units int) (out []opened, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.scaled(roundTimeout))
	defer cancel()
	fields := strings.Replace(strings.Replace(s.fields, "r.seq", "a.seq", 1), "r.id", "a.request_id", 1)
	rows, err := s.db.QueryContext(ctx, s.cfg.placeholders(fmt.Sprintf("SELECT %s, a.unit, a.digest, a.state, coalesce(a.code, ''), CASE WHEN r.id IS NULL THEN 1 ELSE 0 END"+
		" FROM (SELECT unit FROM zl_answer WHERE state IN ('taken', 'held', 'accepted') AND unit > ? AND node = ? GROUP BY unit ORDER BY unit LIMIT %d) u"+
		" JOIN zl_answer a ON a.unit = u.unit LEFT JOIN zl_request r ON r.id = a.request_id ORDER BY a.unit, a.seq", fields, units)), after, s.cfg.Node)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var o opened
		var gone int
		if err := scan(rows, &o.row, &o.unit, &o.digest, &o.state, &o.code, &gone); err != nil {
			return nil, err
		}
		o.gone = gone == 1
		out = append(out, o)
	}
	return out, rows.Err()
}

// answered is an answer to be written.
type answered struct {
	id      string
	taken   string // digest of what was taken
	changed bool   // the content is known to differ
	same    bool   // it is what stands in the table
	push.Answer
}

// answer writes answers. In the same transaction it looks whether the rows are still what was taken: one that was
// changed in between gets its fault written beside its answer, which is about what was taken.
func (s *store) answer(ctx context.Context, answers []answered) error {
	return s.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for i := range answers {
			a := &answers[i]
			if !a.changed && a.State != push.Taken {
				now, err := s.rows(ctx, tx, "SELECT "+s.fields+" FROM zl_request r WHERE r.id = ?", a.id)
				if err != nil {
					return err
				}
				a.changed = len(now) != 1 || now[0].digest().String() != a.taken
			}
			if err := s.write(ctx, tx, a); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *store) write(ctx context.Context, tx *sql.Tx, a *answered) error {
	set := "UPDATE zl_answer SET state = ?, code = ?, field = ?, reason_zh = ?, reason_en = ?, operation_id = ?, draft = ?, record = ?," +
		" version = ?, identifier = ?, position = ?, presentation = ?, recorded_at = ?, answered_at = ?"
	args := []any{
		string(a.State), null(string(a.Code)), null(cut(a.Field, 200)), null(cut(a.Zh, 2000)), null(cut(a.En, 2000)), null(a.Operation), null(a.Draft),
		null(string(a.Record)), sql.NullInt64{Int64: int64(a.Version), Valid: a.Version > 0}, null(a.Identifier), sql.NullInt64{}, sql.NullString{},
		sql.NullTime{}, time.Now().In(beijing),
	}
	if a.Position != nil {
		args[10] = int64(*a.Position)
	}
	if len(a.Shown) > 0 {
		raw, err := json.Marshal(a.Shown)
		if err != nil {
			return err
		}
		args[11] = string(raw)
	}
	if t, err := time.Parse(time.RFC3339, a.Time); err == nil {
		args[12] = t.In(beijing)
	}
	if a.changed {
		e := model.E(model.CodeRowChanged)
		set += ", fault = ?, fault_zh = ?, fault_en = ?"
		args = append(args, string(e.Code), e.Zh(), e.En())
	}
	_, err := tx.ExecContext(ctx, s.cfg.placeholders(set+" WHERE request_id = ?"), append(args, a.id)...)
	return err
}

func null(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// cut keeps the first n characters.
func cut(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
