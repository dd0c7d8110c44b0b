package fabblock_test

import "testing"

// BenchmarkCheck checks a block of one transaction of the embedded ledger: three signatures, and what lies around
// them.
func BenchmarkCheck(b *testing.B) {
	c := newChain(b, 1)
	prev := c.blocks[0].GetHeader()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.channel.Check(prev, c.blocks[1]); err != nil {
			b.Fatal(err)
		}
	}
}
