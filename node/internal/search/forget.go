package search

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// forgetting is a record whose holder is to be forgotten; done has room for the answer.
type forgetting struct {
	ctx    context.Context
	record model.RecordID
	done   chan error
}

// Forget takes out of the index what it knows of a record's holder. When it returns nil the holder is found no longer, and
// nothing of code and name is left in the file, its free pages, its journal or a file that was set aside. The vault must
// have erased it before: whatever the index reads from there afterwards is then without it.
//
// Done again it changes nothing. search_rebuilding: the index has no file at the moment; call it again.
func (x *Index) Forget(ctx context.Context, record model.RecordID) error {
	f := forgetting{ctx, record, make(chan error, 1)}
	select {
	case x.forget <- f:
	case <-ctx.Done():
		return x.rebuildingError()
	}
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forgotten does what Forget asks for, between two batches of the log. An error that says that the file is of no use ends
// following it.
func (f *following) forgotten(g forgetting) error {
	err := f.w.forget(g.ctx, string(g.record))
	if err == nil {
		err = f.w.truncate(g.ctx)
	}
	if e := os.Remove(f.x.path + asideSuffix); err == nil && !errors.Is(e, fs.ErrNotExist) {
		err = e
	}
	if err == nil {
		f.x.log.Info("the holder of a licence is forgotten", "record", g.record)
	}
	g.done <- err
	if damaged(err) {
		return f.found(err)
	}
	return nil
}

// forget takes holders out, and has their words merged away: taken out of a full-text index, words stand in it until then,
// beside a note that they do not count.
func (w *writer) forget(ctx context.Context, record string) (err error) {
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = w.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		}
	}()
	var pos int64
	err = w.conn.QueryRowContext(ctx, "SELECT pos FROM licences WHERE record = ?", record).Scan(&pos)
	switch {
	case errors.Is(err, sql.ErrNoRows): // not here yet
	case err != nil:
		return err
	default:
		var r row
		s, err := w.take(ctx, pos, &r)
		if err != nil {
			return err
		}
		if err := w.put(ctx, &r, nil); err != nil {
			return err
		}
		if s != nil {
			if _, err := w.conn.ExecContext(ctx, "INSERT INTO holder_words (holder_words) VALUES ('optimize')"); err != nil {
				return err
			}
		}
	}
	_, err = w.conn.ExecContext(ctx, "COMMIT")
	return err
}

// truncate copies the journal into the file and cuts it off: it holds pages as they were. Deleted content and free pages
// of the file itself are overwritten with zeros (secure_delete). Readers can hold it up.
func (w *writer) truncate(ctx context.Context) error {
	for {
		var busy, frames, copied int
		if err := w.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &copied); err != nil {
			return err
		}
		if busy == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
