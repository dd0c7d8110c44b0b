package embedded

import "iter"

// Blocks yields the blocks of a stopped ledger, or of a copy, in order. Nothing is checked beyond what each block's
// own checksum says: Fsck does. An error is yielded once and ends it.
func Blocks(dir string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s, err := openStore(dir, Limits{}.withDefaults())
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.close()
		for n := range s.height {
			raw, err := s.rawBlock(n)
			if !yield(raw, err) || err != nil {
				return
			}
		}
	}
}
