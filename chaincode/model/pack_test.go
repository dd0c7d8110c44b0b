package model_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/zhenglian/zhenglian/chaincode/model"
)

func lines(n int) [][]byte {
	var ops [][]byte
	for i := range n {
		ops = append(ops, fmt.Appendf(nil, `{"agency":"bj-scjg","body":{"n":%d},"pad":%q}`, i, strings.Repeat("证照", 50)))
	}
	return ops
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func TestPack(t *testing.T) {
	for _, n := range []int{1, 2, 16, MaxOperations} {
		ops := lines(n)
		args := Pack(ops)
		if len(args) != 1 {
			t.Fatalf("%d operations in %d arguments", n, len(args))
		}
		if n > 1 && len(args[0])*4 > len(ops[0])*n {
			t.Errorf("%d operations of %d bytes take %d", n, len(ops[0]), len(args[0]))
		}
		got, err := Unpack(args)
		if err != nil || !same(got, ops) {
			t.Errorf("%d operations: %v", n, err)
		}
	}
	// What was never packed is read as it stands.
	if ops := lines(3); true {
		if got, err := Unpack(ops); err != nil || !same(got, ops) {
			t.Errorf("%v", err)
		}
	}
	// Nothing that no reader would take is ever made.
	large := [][]byte{make([]byte, MaxPacked), []byte("{}")}
	if got := Pack(large); !same(got, large) {
		t.Error("more than fits was packed")
	}
}

func packOf(text string) []byte {
	b := bytes.NewBuffer([]byte{1})
	w, _ := flate.NewWriter(b, 9)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	good := packOf("{}\n{}\n")
	if ops, err := Unpack([][]byte{good}); err != nil || len(ops) != 2 {
		t.Fatalf("%q %v", ops, err)
	}
	for name, tt := range map[string]struct {
		args [][]byte
		want Code
	}{
		"nothing":                 {nil, CodeTooMany},
		"too many arguments":      {lines(MaxOperations + 1), CodeTooMany},
		"two packs":               {[][]byte{good, good}, CodeBadValue},
		"a pack and an operation": {[][]byte{good, []byte("{}")}, CodeBadValue},
		"an empty pack":           {[][]byte{packOf("")}, CodeTooMany},
		"no end of line":          {[][]byte{packOf("{}\n{}")}, CodeBadValue},
		"no line at all":          {[][]byte{packOf("{}")}, CodeTooMany},
		"an empty line":           {[][]byte{packOf("{}\n\n")}, CodeBadValue},
		"too many":                {[][]byte{packOf(strings.Repeat("{}\n", MaxOperations+1))}, CodeTooMany},
		"too large":               {[][]byte{packOf(strings.Repeat("x", MaxPacked) + "\n")}, CodeTooLarge},
		"cut off":                 {[][]byte{good[:len(good)-1]}, CodeBadValue},
		"bytes after it":          {[][]byte{append(slices.Clone(good), 0)}, CodeBadValue},
		"the first byte alone":    {[][]byte{{1}}, CodeBadValue},
		"no DEFLATE":              {[][]byte{{1, 0xff, 0xff}}, CodeBadValue},
	} {
		if ops, err := Unpack(tt.args); err == nil || AsError(err).Code != tt.want {
			t.Errorf("%s: %d operations, %v; want %s", name, len(ops), err, tt.want)
		}
	}
}

// FuzzUnpack: whatever is accepted keeps the bounds and packs again to the same.
func FuzzUnpack(f *testing.F) {
	f.Add(packOf("{}\n{}\n"))
	f.Add(packOf("{}\n"))
	f.Add(packOf(strings.Repeat("\n", 5)))
	f.Add([]byte{1})
	f.Add([]byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, arg []byte) {
		ops, err := Unpack([][]byte{arg})
		if err != nil {
			return
		}
		if len(ops) == 0 || len(ops) > MaxOperations {
			t.Fatalf("%d operations", len(ops))
		}
		if len(arg) == 0 || arg[0] != 1 {
			return
		}
		again, err := Unpack(Pack(ops))
		if err != nil || (len(ops) > 1 && !same(again, ops)) {
			t.Errorf("%d operations, again %d: %v", len(ops), len(again), err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	ops := lines(500)
	b.SetBytes(int64(len(ops) * len(ops[0])))
	for b.Loop() {
		if _, err := Unpack(Pack(ops)); err != nil {
			b.Fatal(err)
		}
	}
}
