package search

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/fold"
)

// writer applies leaves. Used by the goroutine of Run.
type writer struct {
	vault Vault
	conn  *sql.Conn
	terms termList

	statements []*sql.Stmt

	insert, remove, words, unwords                    *sql.Stmt
	get, holder                                       *sql.Stmt
	insertHolder, removeHolder, holderWords, unholder *sql.Stmt
	moved                                             *sql.Stmt
}

const insertRow = "INSERT INTO licences (pos,record,version,state,type,number,identifier,issuer,owner,region,issued_on,valid_from," +
	"valid_until,holder_kind,holder_code,holder_name,name_key,legacy,updated,sum) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"

func newWriter(ctx context.Context, db *sql.DB, v Vault) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{vault: v, conn: conn}
	for _, s := range []struct {
		into **sql.Stmt
		text string
	}{
		{&w.insert, insertRow},
		{&w.remove, "DELETE FROM licences WHERE pos = ?"},
		{&w.words, "INSERT INTO words (rowid, t) VALUES (?, ?)"},
		{&w.unwords, "INSERT INTO words (words, rowid, t) VALUES ('delete', ?, ?)"},
		{&w.get, "SELECT " + rowColumns + " FROM licences l WHERE pos = ?"},
		{&w.holder, "SELECT code, name, folded FROM holders WHERE pos = ?"},
		{&w.insertHolder, "INSERT INTO holders (pos, code, name, folded) VALUES (?, ?, ?, ?)"},
		{&w.removeHolder, "DELETE FROM holders WHERE pos = ?"},
		{&w.holderWords, "INSERT INTO holder_words (rowid, t) VALUES (?, ?)"},
		{&w.unholder, "INSERT INTO holder_words (holder_words, rowid, t) VALUES ('delete', ?, ?)"},
		{&w.moved, "UPDATE state SET next = ?, leaf = ?, block = ?, complete = max(complete, ?)"},
	} {
		if *s.into, err = conn.PrepareContext(ctx, s.text); err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.statements = append(w.statements, *s.into)
	}
	return w, nil
}

// close gives the connection back. SQLite copies the journal into the file when the last connection closes without
// statements of its own.
func (w *writer) close() error {
	var errs []error
	for _, s := range w.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

// apply applies leaves that follow one another and notes how far it is, in one transaction. last says that there are no
// more: the file is complete then, and stays so.
func (w *writer) apply(ctx context.Context, leaves []Leaf, last bool) (err error) {
	complete := 0
	if last {
		complete = 1
	}
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// Without the context, which may be what ended the work.
			_, _ = w.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		}
	}()
	if last {
		if _, err := w.conn.ExecContext(ctx, orders); err != nil {
			return err
		}
	}
	if len(leaves) > 0 {
		for i := range leaves {
			if leaves[i].Operation.Kind != model.KindLicence {
				continue
			}
			if err := w.leaf(ctx, &leaves[i]); err != nil {
				return fmt.Errorf("leaf %d: %w", leaves[i].Position, err)
			}
		}
		l := &leaves[len(leaves)-1]
		if _, err := w.moved.ExecContext(ctx, int64(l.Position+1), l.Hash[:], int64(l.Block), complete); err != nil {
			return err
		}
	} else if _, err := w.conn.ExecContext(ctx, "UPDATE state SET complete = max(complete, ?)", complete); err != nil {
		return err
	}
	_, err = w.conn.ExecContext(ctx, "COMMIT")
	return err
}

func (w *writer) leaf(ctx context.Context, l *Leaf) error {
	var r row
	var s *secret
	if l.Previous > 0 {
		var err error
		if s, err = w.take(ctx, int64(l.Previous-1), &r); err != nil {
			return err
		}
	}
	op := &l.Operation
	r.pos, r.version, r.state, r.updated = int64(l.Position), int64(op.Version), string(l.State), op.Time.Time().UnixMilli()
	body, err := model.DecodeBody(op)
	if err != nil {
		return err
	}
	var stated *model.Licence
	switch b := body.(type) {
	case *model.IssueBody:
		r.record, r.owner, stated = string(op.Record), string(op.Agency), &b.Value
	case *model.AmendBody:
		stated = &b.Value
	case *model.TransferBody:
		r.owner = string(b.To)
	}
	if stated != nil {
		r.set(stated)
		s = nil
		if len(stated.Commitments) > 0 {
			if s, err = w.secret(op.ID); err != nil {
				return err
			}
		}
	}
	r.sum = r.checksum()
	return w.put(ctx, &r, s)
}

// secret is what the vault knows of the holder that an operation commits to, nil for nothing.
func (w *writer) secret(id model.OpID) (*secret, error) {
	code, name, ok, err := w.vault.Holder(id)
	if err != nil || !ok {
		return nil, err
	}
	return &secret{code, name, fold.Text(name)}, nil
}

// take takes a row out, with its terms and what is known of its holder.
func (w *writer) take(ctx context.Context, pos int64, r *row) (*secret, error) {
	if err := w.get.QueryRowContext(ctx, pos).Scan(r.fields()...); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			err = errDamagedRow
		}
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if _, err := w.remove.ExecContext(ctx, pos); err != nil {
		return nil, err
	}
	if _, err := w.unwords.ExecContext(ctx, pos, r.terms(&w.terms)); err != nil {
		return nil, err
	}
	s := new(secret)
	err := w.holder.QueryRowContext(ctx, pos).Scan(&s.code, &s.name, &s.folded)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.removeHolder.ExecContext(ctx, pos); err != nil {
		return nil, err
	}
	_, err = w.unholder.ExecContext(ctx, pos, s.terms(r, &w.terms))
	return s, err
}

func (w *writer) put(ctx context.Context, r *row, s *secret) error {
	if _, err := w.insert.ExecContext(ctx, r.values()...); err != nil {
		return err
	}
	if _, err := w.words.ExecContext(ctx, r.pos, r.terms(&w.terms)); err != nil {
		return err
	}
	if s == nil {
		return nil
	}
	if _, err := w.insertHolder.ExecContext(ctx, r.pos, s.code, s.name, s.folded); err != nil {
		return err
	}
	_, err := w.holderWords.ExecContext(ctx, r.pos, s.terms(r, &w.terms))
	return err
}

func milliseconds(ms int64) time.Time { return time.UnixMilli(ms) }
