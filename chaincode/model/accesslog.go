package model

import (
	"crypto/sha256"
	"encoding/hex"
)

// A node keeps a log of who read and wrote through it. The log stays with the node; what anybody may hold it to
// is its head, which the node puts on the ledger once a day. See docs/spec/accesslog.md.

// AccessLog is the newest anchor of a node's access log: how many entries it had, and the hash over them all.
// The record's versions are the anchors. Nothing in it is about a person or a record.
type AccessLog struct {
	Count uint64 `json:"count" zl:"public,number"` // entries, from the log's first
	From  Date   `json:"from" zl:"public,date"`    // the first day that this anchor adds; several after a node was down
	Head  Digest `json:"head" zl:"public,digest"`  // the chain's hash after Count entries
	Msp   MSPID  `json:"msp" zl:"public,id"`       // the node's organisation
	Node  NodeID `json:"node" zl:"public,id"`      // whose log it is, with Msp: AccessLogID
	Start Digest `json:"start" zl:"public,digest"` // the chain's hash before the first entry: another one is another log
	Until Date   `json:"until" zl:"public,date"`   // the last day that it adds, inclusive
}

// AccessLogID is the id of the record of a node's access log: the node's own and 24 hexadecimal digits of
// SHA-256(MSP ‖ line feed ‖ node). Two organisations may run nodes of one id, and an id has no room for both names.
func AccessLogID(msp MSPID, node NodeID) RecordID {
	h := sha256.Sum256([]byte(string(msp) + "\n" + string(node)))
	return RecordID(string(node) + "-" + hex.EncodeToString(h[:12]))
}

// ID is the id of the log's record.
func (a *AccessLog) ID() RecordID { return AccessLogID(a.Msp, a.Node) }

func (*AccessLog) whole() {}

func (a *AccessLog) check() error {
	switch {
	case a.Node == "":
		return E(CodeMissingField, "value.node")
	case a.Msp == "":
		return E(CodeMissingField, "value.msp")
	case a.Start.IsZero() || a.Head.IsZero():
		return E(CodeMissingField, "value.head")
	case a.From == "" || a.Until == "":
		return E(CodeMissingField, "value.from")
	case a.Until < a.From:
		return E(CodeBadDate, "value.until")
	case (a.Count == 0) != (a.Head == a.Start):
		return E(CodeBadValue, "value.count")
	}
	return nil
}

// AnchorBody is the body of access.anchor.
type AnchorBody struct {
	Value AccessLog `json:"value" zl:"public"`
}

func (b *AnchorBody) check() error { return b.Value.check() }

// step makes the agency that the node acted under the owner: any that the node acts for may make the next anchor.
func (b *AnchorBody) step(_ Header, op *Operation, e *Effect) error {
	e.Header.Owner = op.Agency
	return nil
}

// Follows refuses an anchor that takes back what an earlier one of the same log says: entries that are gone, or another
// hash for as many. A log with another start is another log, which the record's history shows.
func (a *AccessLog) Follows(before *AccessLog) error {
	switch {
	case a.From <= before.Until:
		return E(CodeBadDate, "value.from")
	case a.Start != before.Start:
		return nil
	case a.Count < before.Count, a.Count == before.Count && a.Head != before.Head:
		return E(CodeValueMismatch, "value.count")
	}
	return nil
}
