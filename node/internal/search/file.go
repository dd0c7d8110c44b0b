package search

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// schemaVersion changes with anything that the file holds: tables, terms, folding. A file of another is made anew.
const schemaVersion = 2

const applicationID = 0x5a4c5345 // "ZLSE"

// The one column of words has no content of its own: only which terms stand in which row.
const schema = `
CREATE TABLE state (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	next INTEGER NOT NULL,      -- leaves applied
	leaf BLOB NOT NULL,         -- hash of the last of them
	block INTEGER NOT NULL,     -- its block
	complete INTEGER NOT NULL   -- 1 once the file has come to the log's end
);
INSERT INTO state VALUES (1, 0, x'', 0, 0);
CREATE TABLE licences (
	pos INTEGER PRIMARY KEY, record TEXT NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL, type TEXT NOT NULL,
	number TEXT NOT NULL, identifier TEXT NOT NULL, issuer TEXT NOT NULL, owner TEXT NOT NULL, region TEXT NOT NULL,
	issued_on TEXT NOT NULL, valid_from TEXT NOT NULL, valid_until TEXT NOT NULL, holder_kind TEXT NOT NULL,
	holder_code TEXT NOT NULL, holder_name TEXT NOT NULL, name_key TEXT NOT NULL, legacy TEXT NOT NULL, updated INTEGER NOT NULL, sum INTEGER NOT NULL
);
CREATE TABLE holders (pos INTEGER PRIMARY KEY, code TEXT NOT NULL, name TEXT NOT NULL, folded TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5(t, content='', columnsize=0, detail=none, tokenize="` + tokenizer + `");
CREATE VIRTUAL TABLE holder_words USING fts5(t, content='', columnsize=0, detail=none, tokenize="` + tokenizer + `");
`

// The orders that are not that of the log. They are made when a file is complete: sorting once costs less than
// keeping them sorted on the way.
const orders = `
CREATE INDEX IF NOT EXISTS by_number ON licences (number);
CREATE INDEX IF NOT EXISTS by_valid_until ON licences (valid_until);
`

// Every character but the blank belongs to a term. Quotes are doubled for the two levels of quoting.
const tokenizer = `ascii tokenchars '!""#$%&''()*+,-./:;<=>?@[\]^_` + "`" + `{|}~'`

// Memory of the file: of the writer's and of each reader's page cache, in KiB, and of the journal, in pages of 4 KiB
// before it is copied into the file and in bytes that it keeps on the disk.
const (
	writerCacheKiB = 24 << 10
	readerCacheKiB = 6 << 10
	readers        = 4
	journalPages   = 4000
	journalKeep    = 32 << 20
)

// file is the open database. The writer is used by one goroutine, readers by any.
type file struct {
	path    string
	files   []os.FileInfo // what was opened: the database and its journal
	writer  *sql.DB
	readers *sql.DB
}

func dsn(path, mode string, pragmas ...string) string {
	v := url.Values{"mode": {mode}, "_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + v.Encode()
}

// openFile opens the file, or makes it. An error for which damaged is true says that what is there is of no use.
func openFile(ctx context.Context, path string) (*file, error) {
	// SQLite makes its files readable to all; they hold what the vault does.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, err
	}
	d := &file{path: path}
	if d.writer, err = sql.Open("sqlite", dsn(path, "rw", "journal_mode(WAL)", "synchronous(NORMAL)",
		fmt.Sprintf("cache_size(-%d)", writerCacheKiB), fmt.Sprintf("wal_autocheckpoint(%d)", journalPages),
		fmt.Sprintf("journal_size_limit(%d)", journalKeep), "secure_delete(1)", "temp_store(2)")); err != nil {
		return nil, err
	}
	d.writer.SetMaxOpenConns(1)
	if err := d.prepare(ctx); err != nil {
		return nil, errors.Join(err, d.writer.Close())
	}
	if d.readers, err = sql.Open("sqlite", dsn(path, "rw", "query_only(1)", fmt.Sprintf("cache_size(-%d)", readerCacheKiB), "temp_store(2)")); err != nil {
		return nil, errors.Join(err, d.writer.Close())
	}
	d.readers.SetMaxOpenConns(readers)
	d.readers.SetMaxIdleConns(readers)
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", errLost, err), d.close())
		}
		d.files = append(d.files, info)
	}
	return d, nil
}

var (
	errLost    = errors.New("search: the file was deleted or replaced")
	errVersion = errors.New("search: the file was written by another version")
)

// prepare makes the schema where there is none, and refuses another.
func (d *file) prepare(ctx context.Context) error {
	var application, version int
	if err := d.writer.QueryRowContext(ctx, "PRAGMA application_id").Scan(&application); err != nil {
		return err
	}
	if err := d.writer.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if application == applicationID && version == schemaVersion {
		return nil
	}
	if application != 0 || version != 0 {
		return errVersion
	}
	var tables int
	if err := d.writer.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return err
	}
	if tables != 0 {
		return errVersion
	}
	tx, err := d.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, schemaVersion))
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// present tells whether the files on the disk are still those that were opened.
func (d *file) present() bool {
	for i, name := range []string{d.path, d.path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil || !os.SameFile(info, d.files[i]) {
			return false
		}
	}
	return true
}

func (d *file) close() error {
	var err error
	if d.readers != nil {
		err = d.readers.Close()
	}
	return errors.Join(err, d.writer.Close())
}

// asideSuffix is of the name of a file that was put aside.
const asideSuffix = ".aside"

// setAside puts a file out of the way, in the place of one that was put there before, and removes its journal, which
// would be taken for the next file's.
func setAside(path string) (string, error) {
	aside := path + asideSuffix
	err := os.Rename(path, aside)
	if errors.Is(err, fs.ErrNotExist) {
		err, aside = nil, ""
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return aside, err
}

// damaged tells whether an error says that the file is of no use, rather than that it is busy, full or too slow.
func damaged(err error) bool {
	if errors.Is(err, errLost) || errors.Is(err, errVersion) || errors.Is(err, errDamagedRow) ||
		errors.Is(err, errOtherLog) || errors.Is(err, errUnsound) {
		return true
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FORMAT:
		return true
	case sqlite3.SQLITE_ERROR: // its own statements fit its own schema: a table is missing
		return strings.Contains(e.Error(), "no such table") || strings.Contains(e.Error(), "malformed")
	case sqlite3.SQLITE_READONLY:
		return e.Code() == sqlite3.SQLITE_READONLY_DBMOVED
	}
	return false
}

// full tells whether the disk has no room.
func full(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}
