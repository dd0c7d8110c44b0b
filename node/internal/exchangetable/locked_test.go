package exchangetable

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

// Somebody locks the whole table for minutes: the source says that it is degraded, the node tries again now and then,
// nothing piles up at the database, and afterwards every row counts once. Deadlines and pauses are a fifth here, and the lock
// lasts as long in proportion; ZL_SOAK=1 takes the real ones.
func TestTableLockedForMinutes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		held := 2 * time.Minute
		if os.Getenv("ZL_SOAK") == "" {
			w.cfg.hurry = 5
			held = w.cfg.scaled(45 * time.Second)
		}
		_, watch := w.begin(t)
		w.write(t, issueColumns, issue("r0", "BJ0"))
		w.answer(t, "r0", state(push.Committed))

		conn, err := w.db.Admin.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		exec := func(q string) {
			t.Helper()
			if _, err := conn.ExecContext(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		lock, unlock := "LOCK TABLES zl_request WRITE", "UNLOCK TABLES"
		sessions := "SELECT count(*) FROM information_schema.processlist WHERE user = 'zl_node'"
		if w.cfg.Database == Postgres {
			lock, unlock = "BEGIN; LOCK TABLE zl_request IN ACCESS EXCLUSIVE MODE", "COMMIT"
			sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'zl_node'"
		}
		exec(lock)
		end := time.Now().Add(held)
		var rows []string
		for i := range 20 {
			rows = append(rows, issue(fmt.Sprint("l", i), fmt.Sprint("L", i)))
		}
		exec("INSERT INTO zl_request (" + issueColumns + ") VALUES " + strings.Join(rows, ", "))
		within(t, "the source is degraded", func() bool { return watch.Trouble() != nil })
		rounds := 0
		w.node.set(func(n *fakeNode) { rounds = n.signIns })
		for time.Now().Before(end) {
			var n int
			if err := w.db.Admin.QueryRowContext(t.Context(), sessions).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n > 3 { // two, and one that listens
				t.Fatalf("%d sessions of the node", n)
			}
			if watch.Trouble() == nil {
				t.Fatal("the source is well while its table is locked")
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.node.set(func(n *fakeNode) { rounds = n.signIns - rounds })
		if rounds < 1 {
			t.Error("nobody tried again")
		}
		exec(unlock)
		within(t, "the source is well", func() bool { return watch.Trouble() == nil })
		for i := range rows {
			w.answer(t, fmt.Sprint("l", i), state(push.Committed))
		}
		if n := w.node.accepted(); n != len(rows)+1 {
			t.Errorf("%d operations for %d rows", n, len(rows)+1)
		}
	})
}

// Batches of which somebody holds a row wait; however many they are, the others go on.
func TestLockedBatches(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const locked = 2 * batchesAtOnce
		for b := range locked + 1 {
			var rows []string
			for i := range 2 {
				rows = append(rows, strings.TrimSuffix(issue(fmt.Sprintf("b%d-%d", b, i), fmt.Sprintf("B%d-%d", b, i)), ")")+fmt.Sprintf(", 'batch %d', 2)", b))
			}
			w.write(t, issueColumns+", batch, batch_size", rows...)
		}
		tx, err := w.db.Admin.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		for b := range locked {
			if _, err := tx.ExecContext(t.Context(), "UPDATE zl_request SET number = 'changed' WHERE id = '"+fmt.Sprintf("b%d-1", b)+"'"); err != nil {
				t.Fatal(err)
			}
		}
		_, watch := w.begin(t)
		for i := range 2 {
			w.answer(t, fmt.Sprintf("b%d-%d", locked, i), state(push.Committed))
		}
		if n := w.node.accepted(); n != 2 || watch.Trouble() != nil {
			t.Errorf("%d operations, %v", n, watch.Trouble())
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		for b := range locked {
			w.answer(t, fmt.Sprintf("b%d-1", b), state(push.Committed))
		}
		if d := w.node.last(); d.Type != model.LicenceIssue {
			t.Errorf("%+v", d)
		}
	})
}
