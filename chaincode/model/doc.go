// Package model is the vocabulary of Zhenglian: operations, records, their states, and the pure rules
// between them. Everything else in the module imports it; it imports nothing of ours.
//
// Reading order: operation.go (what changes the ledger), record.go (what the ledger holds and the log
// leaf), states.go (the state machines as tables), step.go (the only place where a transition is
// decided), registry.go and licence.go (the bodies), fields.go (public or confidential), guard.go (no
// personal identifier on the ledger), canonical.go (the one encoding), errors.go (every code).
//
// Nothing here reads a clock, a file or the network, so an endorser, a follower and an offline verifier
// decide alike. All functions are safe for concurrent use; values are not shared unless a comment says so.
package model

//go:generate go test -run TestDocuments . -update
