// Package importer issues licences from a table, as CSV, JSON Lines or an .xlsx workbook: every row is checked first, then the good ones are
// issued in batches, and an import that was cut off goes on where it stopped.
//
// A file is read twice. The first pass (Check) holds every row against the map, the types of package model
// and the registry, and writes nothing. The second (Issue) sends the good rows to the nodes that act for
// their agencies.
//
// # Nothing twice
//
// Three things keep a licence from being issued twice, whatever moment an import is killed at:
//
//   - the journal beside the file (journal.go) lists the rows whose fate is known, and the next run passes
//     over them;
//   - a batch's idempotency key is derived from the file's digest, the map's digest and the batch's own
//     bytes, so sending the same batch again is the same request, and the node answers with what became of
//     it;
//   - a number of a type is unique at its node, so a row that comes again in another batch is refused, and
//     the importer looks at what stands there before it calls the row rejected.
//
// # Names
//
// Values go to the ledger as the file has them, full-width brackets and inner spaces included; only space
// around them and characters that nobody sees are left out (Clean). Where texts are matched (names of
// columns, provinces, districts, holders) they are folded: see Fold.
//
// # Damage
//
// What a spreadsheet has damaged is never guessed. A value is put right only where something proves it: a
// check digit, a length that the map states, the workbook's own calendar; that is noted. All else is a fault
// that names the cell.
package importer
