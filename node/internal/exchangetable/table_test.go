package exchangetable

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/databasetest"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// each runs a test on both databases.
func each(t *testing.T, f func(t *testing.T, w *world)) {
	for _, kind := range []string{databasetest.Postgres, databasetest.MariaDB} {
		t.Run(kind, func(t *testing.T) { f(t, newWorld(t, kind)) })
	}
}

// world is an exchange table with a back office, and nodes that the test starts and ends.
type world struct {
	db      *databasetest.Database
	cfg     Config
	office  *sql.DB
	node    *fakeNode
	journal string
}

func newWorld(t *testing.T, kind string) *world {
	db := databasetest.Fresh(t, kind)
	w := &world{db: db, node: newFakeNode(), journal: filepath.Join(t.TempDir(), "push")}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(db.Roots)
	w.cfg = Config{
		Name: "qzk", Database: Database(kind), Address: db.Address, Catalog: db.Catalog, Schema: "zhenglian", User: "zl_node", Node: "beijing",
		Password: func() (string, error) { return databasetest.Password, nil }, Poll: 50 * time.Millisecond,
		TLS: &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"},
	}
	schema := "zhenglian"
	if kind == databasetest.MariaDB {
		schema = db.Catalog
	}
	db.Exec(t, DDL(Database(kind), schema, "zl_node", "zl_office"))
	w.office = db.As(t, "zl_office")
	if kind == databasetest.Postgres {
		db.Exec(t, "ALTER ROLE zl_office IN DATABASE "+db.Catalog+" SET search_path = zhenglian")
		db.Exec(t, "ALTER ROLE postgres IN DATABASE "+db.Catalog+" SET search_path = zhenglian")
		_ = db.Admin.Close() // its connections have the old path
		db.Admin = db.As(t, "postgres")
	}
	return w
}

// begin runs a table until end is called, as one process does.
func (w *world) begin(t *testing.T) (end func(), watch *push.Watch) {
	t.Helper()
	journal, err := push.OpenJournal(w.journal)
	if err != nil {
		t.Fatal(err)
	}
	watch = push.NewWatch("table/qzk", push.NewMetrics())
	table, err := New(w.cfg, &push.Door{Intake: w.node, Journal: journal}, watch, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); table.Run(ctx) }()
	var once sync.Once
	end = func() { once.Do(func() { cancel(); <-done; _ = journal.Close() }) }
	t.Cleanup(end)
	return end, watch
}

func (w *world) write(t *testing.T, columns string, rows ...string) {
	t.Helper()
	if _, err := w.office.ExecContext(t.Context(), "INSERT INTO zl_request ("+columns+") VALUES "+strings.Join(rows, ", ")); err != nil {
		t.Fatal(err)
	}
}

// issue is a row that asks for a licence.
func issue(id, number string) string {
	return fmt.Sprintf("('%s', 'licence.issue', '11100000MB0143028R001', '%s', '91110105X000000192', '北京样例科技有限公司', '2026-01-02')", id, number)
}

const issueColumns = "id, operation, licence_type, number, holder_code, holder_name, issued_on"

type told struct{ state, code, field, zh, operation, draft, record, identifier, fault string }

// answer waits until a row has an answer that will do.
func (w *world) answer(t *testing.T, id string, will func(told) bool) told {
	t.Helper()
	var a told
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := w.office.QueryRowContext(t.Context(), w.cfg.placeholders("SELECT state, coalesce(code, ''), coalesce(field, ''), coalesce(reason_zh, ''), coalesce(operation_id, ''),"+
			" coalesce(draft, ''), coalesce(record, ''), coalesce(identifier, ''), coalesce(fault, '') FROM zl_answer WHERE request_id = ?"), id).
			Scan(&a.state, &a.code, &a.field, &a.zh, &a.operation, &a.draft, &a.record, &a.identifier, &a.fault)
		if err == nil && will(a) {
			return a
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v, %v", id, a, err)
		}
	}
}

func state(s push.State) func(told) bool { return func(a told) bool { return a.state == string(s) } }

// Every kind of row, and its answer.
func TestAnswers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.begin(t)
		w.write(t, issueColumns, issue("r1", "BJ1"), issue("r2", "BJ2"))
		a := w.answer(t, "r1", state(push.Committed))
		if a.record == "" || a.identifier == "" || a.operation == "" || a.fault != "" || a.code != "" {
			t.Errorf("%+v", a)
		}
		w.answer(t, "r2", state(push.Committed))

		w.write(t, "id, operation, record, decision_number, decision_date, effective_on, reason",
			"('s1', 'licence.suspend', '"+a.record+"', '京市监〔2026〕1号', '2026-02-01', '2026-02-02', 'inspection')")
		w.answer(t, "s1", state(push.Committed))
		if d := w.node.last(); d.Type != model.LicenceSuspend || string(d.Record) != a.record || !strings.Contains(string(d.Body), "京市监〔2026〕1号") {
			t.Errorf("%+v %s", d, d.Body)
		}

		// What is wrong with a row is said in words, and names the column.
		w.write(t, issueColumns, strings.Replace(issue("bad1", "BJ3"), "91110105X000000192", "91110105X000000193", 1))
		if a := w.answer(t, "bad1", state(push.Refused)); a.code != "bad_uscc" || a.field != "holder_code" || !strings.Contains(a.zh, "统一社会信用代码") {
			t.Errorf("%+v", a)
		}
		w.write(t, "id, operation", "('bad2', 'licence.nonsense')", "('bad3', 'licence.amend')", "('bad4', 'licence.suspend')")
		for id, code := range map[string]string{"bad2": "unknown_operation", "bad3": "missing_field", "bad4": "missing_field"} {
			if a := w.answer(t, id, state(push.Refused)); a.code != code {
				t.Errorf("%s: %+v", id, a)
			}
		}
		w.write(t, "id, operation, number, record", "('bad5', 'licence.suspend', 'BJ1', 'bj-scjg.1')")
		if a := w.answer(t, "bad5", state(push.Refused)); a.code != "unknown_field" || a.field != "number" {
			t.Errorf("%+v", a)
		}

		// A document is what POST /v1/operations takes.
		w.write(t, "id, operation, document", `('d1', 'licence.suspend', '{"type":"licence.suspend","record":"bj-scjg.1","body":{"reason":"x"}}')`,
			`('d2', 'licence.resume', '{"type":"licence.suspend","record":"bj-scjg.1","body":{}}')`,
			`('d3', 'licence.suspend', '{"type":"licence.suspend","record":"bj-scjg.1","body":{},"extra":1}')`)
		w.answer(t, "d1", state(push.Committed))
		if a := w.answer(t, "d2", state(push.Refused)); a.code != "bad_value" {
			t.Errorf("%+v", a)
		}
		if a := w.answer(t, "d3", state(push.Refused)); a.code != "unknown_field" {
			t.Errorf("%+v", a)
		}

		// What another person has to approve is held, and goes on when it is.
		w.node.set(func(n *fakeNode) { n.held = true })
		w.write(t, issueColumns, issue("h1", "BJ4"), issue("h2", "BJ5"))
		one, two := w.answer(t, "h1", state(push.Held)), w.answer(t, "h2", state(push.Held))
		if one.draft == "" || one.draft == two.draft {
			t.Errorf("%+v %+v", one, two)
		}
		w.node.decide(one.draft, true)
		w.node.decide(two.draft, false)
		w.node.set(func(n *fakeNode) { n.held = false })
		if a := w.answer(t, "h1", state(push.Committed)); a.draft != one.draft || a.record == "" {
			t.Errorf("%+v", a)
		}
		w.answer(t, "h2", state(push.Refused))

		// What the ledger refuses later.
		w.node.set(func(n *fakeNode) { n.pending = true })
		w.write(t, issueColumns, issue("p1", "BJ6"))
		w.answer(t, "p1", state(push.Accepted))
		w.node.set(func(n *fakeNode) { n.pending, n.refuse = false, model.E(model.CodeTypeNotPermitted) })
		if a := w.answer(t, "p1", state(push.Refused)); a.code != "licence_type_not_permitted" {
			t.Errorf("%+v", a)
		}
	})
}

// A batch is accepted as one, once it is complete, or not at all.
func TestBatches(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.begin(t)
		cols := issueColumns + ", batch, batch_size"
		in := func(row, batch string, size int) string {
			return fmt.Sprintf("%s, '%s', %d)", strings.TrimSuffix(row, ")"), batch, size)
		}
		w.write(t, cols, in(issue("a1", "A1"), "a", 3), in(issue("a2", "A2"), "a", 3))
		w.write(t, issueColumns, issue("single", "S1")) // not held up
		w.answer(t, "single", state(push.Committed))
		var n int
		if err := w.office.QueryRow("SELECT count(*) FROM zl_answer WHERE batch = 'a'").Scan(&n); err != nil || n != 0 {
			t.Fatalf("an incomplete batch was taken: %d, %v", n, err)
		}
		w.write(t, cols, in(issue("a3", "A3"), "a", 3))
		for _, id := range []string{"a1", "a2", "a3"} {
			w.answer(t, id, state(push.Committed))
		}
		if got := w.node.requests(); got != 2 {
			t.Errorf("%d requests for a single row and a batch", got)
		}
		bad := strings.Replace(issue("b2", "B2"), "91110105X000000192", "x", 1)
		w.write(t, cols, in(issue("b1", "B1"), "b", 2), in(bad, "b", 2))
		if a := w.answer(t, "b2", state(push.Refused)); a.code != "bad_uscc" || a.field != "holder_code" {
			t.Errorf("%+v", a)
		}
		if a := w.answer(t, "b1", state(push.Refused)); !strings.Contains(a.zh, "同批") {
			t.Errorf("%+v", a)
		}
		w.write(t, cols, in(issue("c1", "C1"), "c", 1001))
		if a := w.answer(t, "c1", state(push.Refused)); a.field != "batch_size" {
			t.Errorf("%+v", a)
		}
		// The node's own trouble with one of them.
		w.node.set(func(n *fakeNode) { n.acceptErr, n.acceptIndex = model.E(model.CodeNumberTaken, "value.number"), 1 })
		w.write(t, cols, in(issue("e1", "E1"), "e", 2), in(issue("e2", "E2"), "e", 2))
		if a := w.answer(t, "e2", state(push.Refused)); a.code != "number_taken" || strings.Contains(a.zh, "同批") {
			t.Errorf("%+v", a)
		}
		if a := w.answer(t, "e1", state(push.Refused)); !strings.Contains(a.zh, "同批") {
			t.Errorf("%+v", a)
		}
	})
}

// A row that is changed after it was taken: what was taken counts, and the answer says so. Nothing counts twice.
func TestChangedRows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		end, _ := w.begin(t)
		w.node.set(func(n *fakeNode) { n.pending = true })
		w.write(t, issueColumns, issue("r1", "BJ1"), issue("r2", "BJ2"), issue("r3", "BJ3"))
		for _, id := range []string{"r1", "r2", "r3"} {
			w.answer(t, id, state(push.Accepted))
		}
		exec := func(q string) {
			t.Helper()
			if _, err := w.office.ExecContext(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		exec("UPDATE zl_request SET number = 'other' WHERE id = 'r1'")
		exec("DELETE FROM zl_request WHERE id = 'r3'")
		w.node.set(func(n *fakeNode) { n.pending = false })
		if a := w.answer(t, "r1", state(push.Committed)); a.fault != "row_changed" {
			t.Errorf("%+v", a)
		}
		if a := w.answer(t, "r3", state(push.Committed)); a.fault != "row_changed" {
			t.Errorf("%+v", a)
		}
		first := w.answer(t, "r2", state(push.Committed))
		if first.fault != "" {
			t.Errorf("%+v", first)
		}
		// An administrator offers rows again: the same one, and one that was changed. Answers are lost, too.
		w.db.Exec(t, "DELETE FROM zl_answer WHERE request_id = 'r2'")
		w.db.Exec(t, "UPDATE zl_request SET taken_at = NULL")
		if a := w.answer(t, "r2", state(push.Committed)); a != first {
			t.Errorf("%+v, was %+v", a, first)
		}
		w.answer(t, "r1", func(a told) bool { return a.fault == "row_changed" })
		if n := w.node.accepted(); n != 3 {
			t.Errorf("%d operations for 3 rows", n)
		}
		// Even a database that was restored without any mark, under a new key of the node.
		end()
		w.node.set(func(n *fakeNode) { n.caller.Principal = "key-new" })
		w.db.Exec(t, "DELETE FROM zl_answer")
		w.db.Exec(t, "UPDATE zl_request SET taken_at = NULL")
		w.begin(t)
		w.answer(t, "r2", state(push.Committed))
		if n := w.node.accepted(); n != 3 {
			t.Errorf("%d operations for 3 rows", n)
		}
	})
}

// The process ends at each step, applied and not applied; the next one finishes, and every row counts once.
func TestEnded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i, cut := range []string{"before accept", "after accept", "answer lost"} {
			t.Run(cut, func(t *testing.T) {
				id := fmt.Sprint("cut", i)
				end, _ := w.begin(t)
				before := w.node.accepted()
				stopped := make(chan struct{})
				w.node.set(func(n *fakeNode) {
					n.stop = func(applied bool) bool {
						if cut == "before accept" && applied {
							return false
						}
						if cut != "before accept" && !applied {
							return false
						}
						select {
						case <-stopped:
						default:
							close(stopped)
						}
						return true
					}
				})
				w.write(t, issueColumns, issue(id, id))
				<-stopped
				end()
				w.node.set(func(n *fakeNode) { n.stop = nil })
				w.answer(t, id, state(push.Taken))
				if cut == "answer lost" {
					w.db.Exec(t, "DELETE FROM zl_answer WHERE request_id = '"+id+"'")
					w.db.Exec(t, "UPDATE zl_request SET taken_at = NULL WHERE id = '"+id+"'")
				}
				again, _ := w.begin(t)
				w.answer(t, id, state(push.Committed))
				again()
				if n := w.node.accepted() - before; n != 1 {
					t.Errorf("%d operations", n)
				}
			})
		}
	})
}

// While the node cannot take anything, rows wait in their order, and the source says that it is degraded. Rows that only
// somebody's transaction holds are passed over.
func TestLocked(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, watch := w.begin(t)
		w.write(t, issueColumns, issue("r0", "BJ0"))
		w.answer(t, "r0", state(push.Committed))

		// One row in a transaction of the back office.
		w.write(t, issueColumns, issue("r1", "BJ1"))
		w.answer(t, "r1", state(push.Committed))
		tx, err := w.office.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("INSERT INTO zl_request (" + issueColumns + ") VALUES " + issue("r2", "BJ2")); err != nil {
			t.Fatal(err)
		}
		w.write(t, issueColumns, issue("r3", "BJ3"))
		w.answer(t, "r3", state(push.Committed))
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		w.answer(t, "r2", state(push.Committed))

		// The node's outbox is full: the row says so, those after it are not taken before it.
		w.node.set(func(n *fakeNode) { n.acceptErr, n.acceptIndex = model.E(model.CodeOutboxFull), -1 })
		w.write(t, issueColumns, issue("r5", "BJ5"))
		if a := w.answer(t, "r5", func(a told) bool { return a.code == "outbox_full" }); a.state != "taken" {
			t.Errorf("%+v", a)
		}
		w.write(t, issueColumns, issue("r6", "BJ6"))
		time.Sleep(5 * w.cfg.Poll)
		var taken sql.NullString
		if err := w.office.QueryRow("SELECT CAST(taken_at AS char(30)) FROM zl_request WHERE id = 'r6'").Scan(&taken); err != nil || taken.Valid {
			t.Errorf("taken out of its turn: %v, %v", taken, err)
		}
		w.node.set(func(n *fakeNode) { n.acceptErr = nil })
		w.answer(t, "r5", state(push.Committed))
		w.answer(t, "r6", state(push.Committed))

		// The key is revoked: nothing is taken.
		w.node.set(func(n *fakeNode) { n.signInErr = model.E(model.CodeUnauthenticated) })
		within(t, "the source is degraded", func() bool { return watch.Trouble() != nil })
		w.node.set(func(n *fakeNode) { n.signInErr = nil })
		within(t, "the source is well", func() bool { return watch.Trouble() == nil })
	})
}

func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 40 s: %s", what)
		}
	}
}

// Names and texts that somebody chose to do harm go through, or are refused; nothing else happens.
func TestHostileRows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.begin(t)
		insert := w.cfg.placeholders("INSERT INTO zl_request (" + issueColumns + ") VALUES (?, 'licence.issue', '11100000MB0143028R001', ?, '91110105X000000192', ?, '2026-01-02')")
		ids := map[string]push.State{
			`'); DROP TABLE zl_request; --`: push.Committed, `"quoted"`: push.Committed, "编号一": push.Committed, strings.Repeat("字", 64): push.Committed,
			"Case": push.Committed, "case": push.Committed, "a\nb": push.Refused, " lead": push.Refused, "\x7f": push.Refused, `\`: push.Committed, "%s": push.Committed,
		}
		n := 0
		for id := range ids {
			n++
			if _, err := w.office.ExecContext(t.Context(), insert, id, fmt.Sprint("N", n), strings.Repeat("名", 200)); err != nil {
				t.Fatal(err)
			}
		}
		for id, want := range ids {
			a := w.answer(t, id, func(a told) bool { return push.State(a.state).Final() })
			if a.state != string(want) {
				t.Errorf("%q: %+v", id, a)
			}
		}
		// A document of many megabytes is neither read whole nor accepted.
		big := `{"type":"licence.suspend","record":"bj-scjg.1","body":{"x":"` + strings.Repeat("x", 3<<20) + `"}}`
		if _, err := w.office.ExecContext(t.Context(), w.cfg.placeholders("INSERT INTO zl_request (id, operation, document) VALUES ('big', 'licence.suspend', ?)"), big); err != nil {
			t.Fatal(err)
		}
		if a := w.answer(t, "big", state(push.Refused)); a.code != "too_large" {
			t.Errorf("%+v", a)
		}
	})
}

// The node has the rights that it needs and no more, and check says what is missing.
func TestRights(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		fatal := func() (out []string) {
			for _, f := range Check(t.Context(), w.cfg) {
				if f.Fatal {
					out = append(out, f.Where+": "+f.En)
				}
				if f.Zh == "" || f.En == "" {
					t.Errorf("%+v", f)
				}
			}
			return out
		}
		if out := Check(t.Context(), w.cfg); len(out) != 0 {
			t.Errorf("a table as the DDL makes it: %+v", out)
		}
		node := w.db.As(t, "zl_node")
		prefix := ""
		if w.cfg.Database == Postgres {
			prefix = "zhenglian."
		}
		for _, q := range []string{
			"UPDATE " + prefix + "zl_request SET number = 'x'", "DELETE FROM " + prefix + "zl_request", "DELETE FROM " + prefix + "zl_answer",
			"DROP TABLE " + prefix + "zl_answer", "INSERT INTO " + prefix + "zl_request (id, operation) VALUES ('x', 'x')",
		} {
			if _, err := node.ExecContext(t.Context(), q); err == nil {
				t.Errorf("the node's user may: %s", q)
			}
		}
		w.db.Exec(t, "REVOKE INSERT ON zl_answer FROM zl_node")
		if out := fatal(); len(out) != 1 || !strings.HasPrefix(out[0], "zl_answer INSERT") {
			t.Errorf("%q", out)
		}
		w.db.Exec(t, "GRANT INSERT ON zl_answer TO zl_node")
		w.db.Exec(t, "ALTER TABLE zl_request DROP COLUMN effective_on")
		if out := fatal(); len(out) != 1 || !strings.HasPrefix(out[0], "zl_request.effective_on") {
			t.Errorf("%q", out)
		}
		if w.cfg.Database == MariaDB {
			w.db.Exec(t, "ALTER TABLE zl_request ADD COLUMN effective_on date")
			w.db.Exec(t, "ALTER TABLE zl_answer COLLATE utf8mb4_general_ci")
			if out := fatal(); len(out) != 1 || !strings.HasPrefix(out[0], "zl_answer: the collation") {
				t.Errorf("%q", out)
			}
		}
		// Another authority's certificate, a wrong password, no server.
		wrong := w.cfg
		wrong.TLS = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
		if out := Check(t.Context(), wrong); len(out) != 1 || !out[0].Fatal || !strings.Contains(out[0].En, "certificate") {
			t.Errorf("%+v", out)
		}
		wrong = w.cfg
		wrong.Password = func() (string, error) { return "secret-typo", nil }
		if out := Check(t.Context(), wrong); len(out) != 1 || !out[0].Fatal || strings.Contains(out[0].En, "secret-typo") {
			t.Errorf("%+v", out)
		}
		wrong = w.cfg
		wrong.Address = "127.0.0.1:1"
		if out := Check(t.Context(), wrong); len(out) != 1 || !out[0].Fatal {
			t.Errorf("%+v", out)
		}
	})
}
