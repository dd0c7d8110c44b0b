// Package search finds licences by what stands on them: one SQLite file that follows the node's log by position and
// can be thrown away at any time.
//
// # What is kept
//
// A licence is one row of the table licences, under the position of its latest leaf, which is unique and grows: what
// changes goes to the end. Beside it stands one entry of a full-text index, the row's terms (terms.go): every exact
// attribute is a term, and so is every pair of neighbouring characters of the folded name. A filter is terms that must
// all be there (each out of several), and what terms cannot say exactly is checked on the row.
//
// Holders that the ledger does not name stand in tables of their own, as far as this node's vault knows them, and are
// found and shown only to the people of the tree that the owning agency belongs to.
//
// # How it follows
//
// Run reads the log and applies it in batches. Rows, terms and the cursor are one transaction, so whatever moment the
// process dies at, the file is as it was after some leaf and says which. It never holds up the log: it lags and
// catches up, and every answer says how far it is.
//
// # When the file is lost
//
// Deleted, overwritten, unreadable, of another version or of another log: the file is set aside and made anew from the
// log. Meanwhile every search is answered search_rebuilding.
package search
