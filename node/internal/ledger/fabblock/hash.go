package fabblock

import (
	"crypto/sha256"
	"encoding/asn1"
	"math/big"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
)

type asn1Header struct {
	Number       *big.Int
	PreviousHash []byte
	DataHash     []byte
}

// HeaderBytes is the ASN.1 form of a block header that block signatures and hashes cover.
func HeaderBytes(h *common.BlockHeader) []byte {
	b, err := asn1.Marshal(asn1Header{new(big.Int).SetUint64(h.GetNumber()), h.GetPreviousHash(), h.GetDataHash()})
	if err != nil {
		panic(err) // an integer and two byte strings always encode
	}
	return b
}

// HeaderHash is the hash by which the next block names this one.
func HeaderHash(h *common.BlockHeader) []byte {
	sum := sha256.Sum256(HeaderBytes(h))
	return sum[:]
}

// DataHash is the hash over a block's transactions.
func DataHash(data [][]byte) []byte {
	h := sha256.New()
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}

// CodesHash is the hash over a block's validation codes.
func CodesHash(filter []byte) []byte {
	sum := sha256.Sum256(filter)
	return sum[:]
}

// ProposalHash binds an endorsement to its proposal: the two headers and the payload without transient data.
func ProposalHash(channelHeader, signatureHeader, payload []byte) []byte {
	h := sha256.New()
	h.Write(channelHeader)
	h.Write(signatureHeader)
	h.Write(payload)
	return h.Sum(nil)
}
