package follow

import (
	"encoding/hex"
	"errors"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// hashedSet is what a transaction of _lifecycle read and wrote of private data: organisations approve a
// definition in collections of their own, of which blocks hold hashes of keys and values, and the transaction
// that commits the definition reads them.
type hashedSet struct {
	reads  []hashedRead
	writes []hashedWrite
}

type hashedRead struct {
	key     string
	version *fabblock.Version // nil: the key was absent
}

type hashedWrite struct {
	key     string
	deleted bool
}

// hashedKey names a private key among the keys of _lifecycle, none of whose public ones begins with a zero
// byte.
func hashedKey(collection string, key []byte) string {
	return "\x00" + collection + "\x00" + hex.EncodeToString(key)
}

// decodeHashed reads the private part of a transaction's read and write set out of its envelope.
func decodeHashed(raw []byte) (out hashedSet, err error) {
	var env common.Envelope
	var payload common.Payload
	var tx peer.Transaction
	var action peer.ChaincodeActionPayload
	var response peer.ProposalResponsePayload
	var result peer.ChaincodeAction
	var set rwset.TxReadWriteSet
	if err := errors.Join(
		proto.Unmarshal(raw, &env), proto.Unmarshal(env.GetPayload(), &payload), proto.Unmarshal(payload.GetData(), &tx),
	); err != nil {
		return out, err
	}
	if len(tx.GetActions()) != 1 {
		return out, errors.New("not one action")
	}
	if err := errors.Join(
		proto.Unmarshal(tx.GetActions()[0].GetPayload(), &action),
		proto.Unmarshal(action.GetAction().GetProposalResponsePayload(), &response),
		proto.Unmarshal(response.GetExtension(), &result),
		proto.Unmarshal(result.GetResults(), &set),
	); err != nil {
		return out, err
	}
	for _, ns := range set.GetNsRwset() {
		if ns.GetNamespace() != lifecycle {
			continue
		}
		for _, c := range ns.GetCollectionHashedRwset() {
			var kv kvrwset.HashedRWSet
			if err := proto.Unmarshal(c.GetHashedRwset(), &kv); err != nil {
				return out, err
			}
			for _, x := range kv.GetHashedReads() {
				read := hashedRead{key: hashedKey(c.GetCollectionName(), x.GetKeyHash())}
				if v := x.GetVersion(); v != nil {
					read.version = &fabblock.Version{Block: v.GetBlockNum(), Tx: v.GetTxNum()}
				}
				out.reads = append(out.reads, read)
			}
			for _, x := range kv.GetHashedWrites() {
				out.writes = append(out.writes, hashedWrite{hashedKey(c.GetCollectionName(), x.GetKeyHash()), x.GetIsDelete() || x.GetIsPurge()})
			}
		}
	}
	return out, nil
}
