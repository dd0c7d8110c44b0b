package records

import (
	"encoding/binary"
	"math"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// window is a stretch of the log in which an agency's key signs: from the leaf of the operation that
// listed it up to, and without, the leaf of the one that retired it.
type window struct {
	alg    string
	public string // as the registry writes it
	from   uint64
	until  uint64 // open while it is the last position there can be
}

const open = math.MaxUint64

// retire closes the last window at a position and reports whether it was open.
func retire(ws []window, at uint64) bool {
	if n := len(ws); n > 0 && ws[n-1].until == open {
		ws[n-1].until = at
		return true
	}
	return false
}

// list opens a window for a key that the registry lists as active at a position, unless it is open.
func list(ws []window, k *model.Key, at uint64) ([]window, bool) {
	if n := len(ws); n > 0 && ws[n-1].until == open {
		if last := &ws[n-1]; last.alg == k.Alg && last.public == k.Public {
			return ws, false
		}
		retire(ws, at)
	}
	return append(ws, window{k.Alg, k.Public, at, open}), true
}

func encodeWindows(ws []window) []byte {
	var b []byte
	for _, w := range ws {
		b = appendText(b, w.alg)
		b = appendText(b, w.public)
		b = binary.AppendUvarint(b, w.from)
		b = binary.AppendUvarint(b, w.until)
	}
	return b
}

func decodeWindows(b []byte) ([]window, error) {
	var ws []window
	for d := (decoder{rest: b}); len(d.rest) > 0; {
		w := window{d.text(), d.text(), d.uvarint(), d.uvarint()}
		if d.failed || w.until < w.from {
			return nil, ErrDamaged
		}
		ws = append(ws, w)
	}
	return ws, nil
}
