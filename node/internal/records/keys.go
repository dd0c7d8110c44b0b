package records

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// The key spaces. docs/spec/records.md describes them; a change of any format is a new formatVersion.
const (
	spaceAgency     = "a/" // <kind>/<agency> → the greatest serial
	spaceCursor     = "c"  // the cursor
	spaceDigest     = "d/" // <32 bytes> → claims on a licence file
	spaceIdentifier = "i/" // <e-licence identifier> → claims on it
	spaceKey        = "k/" // <agency>/<key id> → the key's windows
	spaceLog        = "l/" // <position, 8 bytes big endian> → log entry
	spaceNumber     = "n/" // <licence type><number> → claims on it
	spaceOperation  = "o/" // <operation id, 16 bytes> → position
	spaceRecord     = "r/" // <kind>/<id> → record
	spaceState      = "s/" // <key of the contract's state> → its version and value
	spaceVersion    = "v/" // <namespace>/<key of another contract's state> → its version
	spaceTx         = "x/" // <transaction id, 32 bytes> → the first block that holds it, and whether it is valid there
	spaceSynced     = "y"  // how much of the file of operations is on the disk; not part of the content
	spaceFormat     = "z"  // the format of all of this
)

// formatVersion stands under spaceFormat; another one means that the store must be rebuilt.
const formatVersion = 3

func stateKey(key string) []byte {
	return append(append(make([]byte, 0, 2+len(key)), spaceState...), key...)
}

func versionKey(namespace, key string) []byte { return []byte(spaceVersion + namespace + "/" + key) }

// txKey is false for an id of another form than a transaction's, which no valid transaction can have.
func txKey(id string) ([]byte, bool) {
	var b [32]byte
	if len(id) != 2*len(b) {
		return nil, false
	}
	if _, err := hex.Decode(b[:], []byte(id)); err != nil || hex.EncodeToString(b[:]) != id {
		return nil, false
	}
	return append([]byte(spaceTx), b[:]...), true
}

func recordKey(kind model.Kind, id model.RecordID) []byte {
	b := make([]byte, 0, 3+len(kind)+len(id))
	b = append(append(b, spaceRecord...), kind...)
	return append(append(b, '/'), id...)
}

func logKey(position uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(spaceLog), position)
}

func operationKey(id model.OpID) []byte { return append([]byte(spaceOperation), id[:]...) }

func identifierKey(id string) []byte { return append([]byte(spaceIdentifier), id...) }

// numberKey takes the type and the number written together: types have one length.
func numberKey(claim string) []byte { return append([]byte(spaceNumber), claim...) }

func numberClaim(t model.TypeCode, number string) string { return string(t) + number }

func digestKey(d []byte) []byte { return append([]byte(spaceDigest), d...) }

// forever reports whether the name of a claims key is its first record's for ever: all but numbers are.
func forever(key []byte) bool { return !bytes.HasPrefix(key, []byte(spaceNumber)) }

func keyPrefix(agency model.AgencyID) []byte { return []byte(spaceKey + string(agency) + "/") }

func keyKey(agency model.AgencyID, id string) []byte { return append(keyPrefix(agency), id...) }

func serialKey(kind model.Kind, agency model.AgencyID) []byte {
	return []byte(spaceAgency + string(kind) + "/" + string(agency))
}
