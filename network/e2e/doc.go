// Package e2e holds the tests of whole nodes: real processes of the programs, started as an operator starts
// them, on free ports of this machine, and judged by what their API, their folders and their exit status say.
//
// The scripts (world_test.go) run on both ledgers. Two ledgers are held against one another, operation by operation,
// with Fabric as the oracle (agree_test.go); and a Fabric network is hurt in many ways while nodes write to it
// (faults_test.go). go test -short leaves Fabric out.
//
// The programs are built once from this checkout, or taken from ZL_PROGRAM (with zl-chaincode beside it); Fabric's are
// built once for the checkout. ZL_FABRIC_BIN names the programs of a Fabric 3, for BFT orderers. ZL_SOAK=1 runs the
// faults at full counts; ZL_SEED repeats a comparison; ZL_STRICT=1 makes a failure of what would be left out for want
// of a right (mounting a small disk).
//
// Reading order of the sources: process_test.go (one child), node_test.go (folders and calls), load_test.go
// (writers and what must have become of their writes), world_test.go and fabric_test.go (the two ledgers), then one
// file for each theme.
package e2e
