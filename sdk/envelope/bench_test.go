package envelope

import "testing"

// One licence's signed bytes are about this long.
var benchMessage = make([]byte, 1024)

func BenchmarkSign(b *testing.B) {
	for _, alg := range algs {
		b.Run(string(alg), func(b *testing.B) {
			s := newSigner(b, alg)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign(benchMessage); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A key parsed once, as the contract's callers and verifiers do it.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range algs {
		b.Run(string(alg), func(b *testing.B) {
			s := newSigner(b, alg)
			sig := sign(b, s, benchMessage)
			v, err := ParsePublic(alg, s.Public())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := v.Verify(benchMessage, sig); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The whole of Verify, the key parsed each time.
func BenchmarkParseAndVerify(b *testing.B) {
	for _, alg := range algs {
		b.Run(string(alg), func(b *testing.B) {
			s := newSigner(b, alg)
			sig := sign(b, s, benchMessage)
			b.ReportAllocs()
			for b.Loop() {
				if err := Verify(alg, s.Public(), benchMessage, sig); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
