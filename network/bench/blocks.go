package bench

import (
	"context"
	"fmt"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// written is what stands in a range of blocks.
type written struct {
	blocks, transactions, invalid int
	bytes                         int // of the blocks as peers deliver and store them
}

// blocks reads a range of blocks from the peer: from is the first, to the one after the last.
func (p *plain) blocks(ctx context.Context, from, to uint64) (written, error) {
	var w written
	if from >= to {
		return w, fmt.Errorf("no block was written: the height is %d still", to)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := p.network.BlockEvents(ctx, client.WithStartBlock(from))
	if err != nil {
		return w, err
	}
	for next := from; next < to; next++ {
		b, ok := <-events
		if !ok || b.GetHeader().GetNumber() != next {
			return w, fmt.Errorf("the peer does not deliver block %d", next)
		}
		w.add(b)
	}
	return w, nil
}

func (w *written) add(b *common.Block) {
	w.blocks++
	w.bytes += proto.Size(b)
	w.transactions += len(b.GetData().GetData())
	codes := b.GetMetadata().GetMetadata()
	if len(codes) <= int(common.BlockMetadataIndex_TRANSACTIONS_FILTER) {
		return
	}
	for _, c := range codes[common.BlockMetadataIndex_TRANSACTIONS_FILTER] {
		if peer.TxValidationCode(c) != peer.TxValidationCode_VALID {
			w.invalid++
		}
	}
}
