package verify

import "sync"

// signatures remembers which key verified which leaf's signature: that cannot change, whatever becomes of the key,
// and verifying costs more than all the rest of a verdict. It takes two bytes a leaf. What it forgets is verified
// again. Safe for concurrent use.
type signatures struct {
	mu    sync.Mutex
	keys  map[signingKey]uint16          // numbered from 1; guarded by mu
	pages map[uint64]*[pageLeaves]uint16 // of leaves; a leaf's is its key's number times two, plus whether it is bad; guarded by mu
}

type signingKey struct{ alg, public string }

const (
	pageLeaves = 4096
	maxPages   = 8192 // 64 MiB, 33 million leaves
	maxSigners = 1<<15 - 1
)

func newSignatures() *signatures {
	return &signatures{keys: map[signingKey]uint16{}, pages: map[uint64]*[pageLeaves]uint16{}}
}

// get is what is known of the signature at a leaf under a key: sigGood, sigBad, or 0.
func (s *signatures) get(position uint64, alg string, public []byte) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	page := s.pages[position/pageLeaves]
	key := s.keys[signingKey{alg, string(public)}]
	if page == nil || key == 0 {
		return 0
	}
	switch page[position%pageLeaves] {
	case key << 1:
		return sigGood
	case key<<1 | 1:
		return sigBad
	}
	return 0
}

func (s *signatures) put(position uint64, alg, public string, result int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := signingKey{alg, public}
	key := s.keys[k]
	if key == 0 {
		if len(s.keys) == maxSigners {
			return
		}
		key = uint16(len(s.keys) + 1)
		s.keys[k] = key
	}
	page := s.pages[position/pageLeaves]
	if page == nil {
		if len(s.pages) == maxPages {
			for any := range s.pages {
				delete(s.pages, any)
				break
			}
		}
		page = new([pageLeaves]uint16)
		s.pages[position/pageLeaves] = page
	}
	page[position%pageLeaves] = key << 1
	if result == sigBad {
		page[position%pageLeaves] |= 1
	}
}
