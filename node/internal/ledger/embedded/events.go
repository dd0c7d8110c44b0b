package embedded

import (
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// ChaincodeEvents sends the events of valid transactions, block by block, from a block or after a transaction.
func (s service) ChaincodeEvents(signed *gateway.SignedChaincodeEventsRequest, stream grpc.ServerStreamingServer[gateway.ChaincodeEventsResponse]) error {
	if len(signed.GetRequest()) == 0 {
		return status.Error(codes.InvalidArgument, "a chaincode events request is required")
	}
	var request gateway.ChaincodeEventsRequest
	if err := proto.Unmarshal(signed.GetRequest(), &request); err != nil {
		return status.Errorf(codes.InvalidArgument, "invalid chaincode events request: %v", err)
	}
	if err := s.mayRead(request.GetChannelId(), request.GetIdentity(), signed.GetRequest(), signed.GetSignature(), true); err != nil {
		return err
	}
	start, err := s.firstEventBlock(&request)
	if err != nil {
		return err
	}
	leave, err := s.enterStream()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := s.streamContext(stream.Context())
	defer cancel()
	after := request.GetAfterTransactionId() // events are passed over until this transaction's is seen
	for n := start; ; n++ {
		if err := s.head.wait(ctx, n); err != nil {
			if s.stopping.Err() != nil {
				return status.Error(codes.Unavailable, "the ledger is shutting down")
			}
			return status.FromContextError(err).Err()
		}
		txs, err := s.transactions(n)
		if err != nil {
			return status.Error(codes.Aborted, err.Error())
		}
		response := &gateway.ChaincodeEventsResponse{BlockNumber: n}
		for i := range txs {
			if after != "" {
				if txs[i].ID == after {
					after = ""
				}
				continue
			}
			if e := txs[i].Event; e != nil && txs[i].Code == peer.TxValidationCode_VALID && e.GetChaincodeId() == request.GetChaincodeId() {
				response.Events = append(response.Events, e)
			}
		}
		if len(response.GetEvents()) == 0 {
			continue
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

// firstEventBlock is where a request starts: at the block of its transaction if one is known, else at its position.
func (l *Ledger) firstEventBlock(request *gateway.ChaincodeEventsRequest) (uint64, error) {
	if id := request.GetAfterTransactionId(); id != "" {
		v, _, ok, err := l.store.transaction(id)
		if err != nil {
			return 0, status.Error(codes.Aborted, err.Error())
		}
		if ok {
			return v.Block, nil
		}
	}
	switch p := request.GetStartPosition().GetType().(type) {
	case nil, *orderer.SeekPosition_NextCommit:
		return l.Height(), nil
	case *orderer.SeekPosition_Specified:
		return p.Specified.GetNumber(), nil
	default:
		return 0, status.Errorf(codes.InvalidArgument, "invalid start position type: %T", p)
	}
}

// transactions are the decoded transactions of a block.
func (l *Ledger) transactions(number uint64) ([]fabblock.Tx, error) {
	raw, err := l.head.block(number)
	if err != nil {
		return nil, err
	}
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	block, err := fabblock.Decode(&b)
	if err != nil {
		return nil, err
	}
	return block.Txs, nil
}
