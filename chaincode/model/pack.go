package model

import (
	"bytes"
	"compress/flate"
	"io"
	"sync"
)

// A pack is several operations in one argument of Apply: the byte 1, then the operations' canonical forms, each ended
// by a line feed (which canonical JSON never holds), compressed by DEFLATE (RFC 1951). Operations of one transaction
// are much alike, and every byte of an argument is copied, hashed, encrypted and stored by each peer and orderer; a
// pack of licences has about a seventh of them. Digests, leaves and positions are those of the operations inside, so nothing depends
// on how a writer compresses. See docs/spec/operation.md.

// packFormat is the first byte of a pack. An operation's is '{'.
const packFormat = 1

// MaxPacked is the most bytes that a pack may unfold to.
const MaxPacked = 4 << 20

// packLevel is the fastest of DEFLATE's levels: the others gain a tenth of the bytes for twice the time or more.
const packLevel = flate.BestSpeed

var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, packLevel)
	if err != nil {
		panic("the level is a constant that exists: " + err.Error())
	}
	return w
}}

// Pack makes the arguments of Apply for operations in canonical form: the operation itself where there is one, else a
// pack of them. More than fit into a pack stay as they are.
func Pack(ops [][]byte) [][]byte {
	size := 0
	for _, op := range ops {
		size += len(op) + 1
	}
	if len(ops) < 2 || size > MaxPacked {
		return ops
	}
	out := bytes.NewBuffer(make([]byte, 0, size/4))
	out.WriteByte(packFormat)
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(out)
	for _, op := range ops {
		_, _ = w.Write(op) // into memory: it cannot fail
		_, _ = w.Write([]byte{'\n'})
	}
	_ = w.Close()
	return [][]byte{out.Bytes()}
}

var unpackers = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}

// Unpack reads the arguments of Apply: operations as they stand, or those of a pack. It never returns more than
// MaxOperations, nor anything of a damaged pack, and looks into no operation.
func Unpack(args [][]byte) ([][]byte, error) {
	if len(args) == 0 || len(args) > MaxOperations {
		return nil, E(CodeTooMany)
	}
	if len(args[0]) == 0 || args[0][0] != packFormat {
		return args, nil
	}
	if len(args) > 1 {
		return nil, E(CodeBadValue).With("beside a pack stands another argument")
	}
	in := bytes.NewReader(args[0][1:])
	r := unpackers.Get().(io.ReadCloser)
	defer unpackers.Put(r)
	_ = r.(flate.Resetter).Reset(in, nil) // it always succeeds
	var text bytes.Buffer
	text.Grow(min(8*len(args[0]), MaxPacked) + bytes.MinRead)
	n, err := text.ReadFrom(io.LimitReader(r, MaxPacked+1))
	switch {
	case err != nil:
		return nil, E(CodeBadValue).With("a damaged pack").Because(err)
	case n > MaxPacked:
		return nil, E(CodeTooLarge).With("a pack of more than %d bytes", MaxPacked)
	case in.Len() > 0:
		return nil, E(CodeBadValue).With("%d bytes after a pack", in.Len())
	}
	rest := text.Bytes()
	ops := make([][]byte, 0, bytes.Count(rest, []byte{'\n'}))
	if cap(ops) == 0 || cap(ops) > MaxOperations {
		return nil, E(CodeTooMany)
	}
	for len(rest) > 0 {
		at := bytes.IndexByte(rest, '\n')
		if at <= 0 {
			return nil, E(CodeBadValue).With("a pack of incomplete operations")
		}
		ops = append(ops, rest[:at:at])
		rest = rest[at+1:]
	}
	return ops, nil
}
