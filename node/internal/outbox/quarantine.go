package outbox

import (
	"encoding/binary"
	"fmt"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// quarantine sets aside the stored operations that this build's model refuses: another build accepted them
// under other rules, and no endorser of this one would take them. Without it one such operation would keep
// the node from starting. Its bytes are kept under a key of their own, the rest of its request goes on.
// A request whose own form is damaged is another matter: nothing of it can be told apart, and Open fails.
//
// Crash argument: an operation is removed from its request and put aside in one batch, synced. A crash
// before it leaves the request as it was, and the next start does the same again.
func (o *Outbox) quarantine() error {
	batch := new(leveldb.Batch)
	err := o.each(requestPrefix, func(key, value []byte) error {
		raw, err := splitRequest(append([]byte(nil), value...))
		if err != nil || len(key) != 9 {
			return fmt.Errorf("%w: request %x", ErrDamaged, key)
		}
		kept := make([][]byte, 0, len(raw))
		for i, one := range raw {
			_, err := model.DecodeOperation(one)
			if err == nil {
				kept = append(kept, one)
				continue
			}
			o.cfg.Logger.Error("outbox sets aside an accepted operation that this build cannot read; it is not sent to the ledger",
				"request", binary.BigEndian.Uint64(key[1:]), "place", i, "bytes", len(one), "digest", model.DigestOf(one).String(), "cause", err)
			batch.Put(quarantineKey(key, one), append([]byte{format}, one...))
		}
		switch {
		case len(kept) == len(raw):
		case len(kept) == 0:
			batch.Delete(append([]byte(nil), key...))
		default:
			batch.Put(append([]byte(nil), key...), encodeRequest(kept))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if batch.Len() > 0 {
		if err := o.db.Write(batch, &opt.WriteOptions{Sync: true}); err != nil {
			return err
		}
	}
	return o.each(quarantinePrefix, func(_, _ []byte) error {
		o.quarantined++
		return nil
	})
}

// quarantineKey has the digest in it, because a request's places, and in time its sequence number, are
// taken again.
func quarantineKey(request, operation []byte) []byte {
	digest := model.DigestOf(operation)
	return append(append([]byte{quarantinePrefix}, request[1:]...), digest[:16]...)
}

// Quarantined is how many accepted operations were set aside because this build cannot read them.
func (o *Outbox) Quarantined() int { return o.quarantined }
