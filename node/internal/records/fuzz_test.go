package records

import (
	"bytes"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// FuzzValues: any bytes under any key space decode to something that encodes to the same bytes, or to an
// error.
func FuzzValues(f *testing.F) {
	c := newChain(f)
	c.submit(c.licence(1, nil), c.act(model.LicenceSuspend, 1, 2))
	s := newStore(f, Options{})
	c.catchUp(s, 1)
	it := s.db.NewIterator(nil, nil)
	for it.Next() {
		f.Add(it.Key()[0], bytes.Clone(it.Value()))
	}
	it.Release()
	f.Add(byte('r'), []byte{})
	f.Add(byte('n'), bytes.Repeat([]byte{0xff}, 30))
	f.Fuzz(func(t *testing.T, space byte, b []byte) {
		var again []byte
		switch string([]byte{space, '/'}) {
		case spaceRecord:
			r, err := decodeRecord(b)
			if err != nil {
				return
			}
			again = r.encode()
		case spaceLog:
			e, err := decodeEntry(b)
			if err != nil {
				return
			}
			again = e.encode()
		case spaceNumber, spaceIdentifier, spaceDigest:
			x, err := decodeClaims(b)
			if err != nil || len(b) == 0 {
				return
			}
			again = x.encode()
		case spaceKey:
			ws, err := decodeWindows(b)
			if err != nil {
				return
			}
			again = encodeWindows(ws)
		case spaceState, spaceVersion:
			v, value, ok, err := decodeState(b)
			if err != nil || !ok {
				return
			}
			again = encodeState(v, value)
		case spaceTx:
			block, valid, err := decodeTx(b)
			if err != nil {
				return
			}
			again = encodeTx(block, valid)
		case "c/":
			x, err := decodeCursor(b)
			if err != nil || b == nil {
				return
			}
			again = x.encode()
		default:
			return
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%c: %x comes back as %x", space, b, again)
		}
	})
}
