// Package e2e holds the tests of whole nodes: real processes of the program, started as an operator starts
// them, on free ports of this machine, and judged by what their API, their folders and their exit status say.
//
// The program is built once from this checkout, or taken from ZL_PROGRAM. ZL_SOAK=1 runs the faults at full
// counts; ZL_STRICT=1 makes a failure of what would be left out for want of a right (mounting a small disk).
//
// Reading order of the sources: process_test.go (one child), node_test.go (folders and calls), load_test.go
// (writers and what must have become of their writes), then one file for each theme.
package e2e
