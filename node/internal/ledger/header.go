package ledger

import (
	"bytes"
	"errors"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// header is what a proposal of ours says, byte for byte: channel, transaction id, time, chaincode in
// channel; creator and nonce in signature; function and arguments in input.
type header struct {
	txID      string
	channel   []byte
	signature []byte
	input     []byte
}

// ownHeader reads a proposal just made by the Gateway client.
func ownHeader(p *client.Proposal) (*header, error) {
	raw, err := p.Bytes()
	if err != nil {
		return nil, err
	}
	w := walker{}
	_, signed := w.pair(raw)      // ProposedTransaction: id, SignedProposal
	proposal, _ := w.pair(signed) // SignedProposal: Proposal, signature
	head, payload := w.pair(proposal)
	own := &header{txID: p.TransactionID()}
	own.channel, own.signature = w.pair(head)
	own.input, _ = w.pair(payload)
	return own, w.err
}

// check refuses a payload that is not the endorsed form of this proposal. What endorsers added (read and
// write set, response, endorsements) is judged by everyone who reads the block; what is ours must be ours,
// because the signature makes it so.
func (own *header) check(payload []byte) error {
	w := walker{}
	head, tx := w.pair(payload)
	channel, signature := w.pair(head)
	action, more := w.pair(tx) // Transaction: its one action
	creator, inner := w.pair(action)
	proposal, _ := w.pair(inner) // ChaincodeActionPayload: proposal payload, endorsements
	input, transient := w.pair(proposal)
	switch {
	case w.err != nil:
		return w.err
	case !bytes.Equal(channel, own.channel):
		return errors.New("another channel header")
	case !bytes.Equal(signature, own.signature) || !bytes.Equal(creator, own.signature):
		return errors.New("another creator or nonce")
	case !bytes.Equal(input, own.input):
		return errors.New("other arguments")
	case more != nil || transient != nil:
		return errors.New("more than was proposed")
	}
	return nil
}

// walker keeps the first error of a walk through nested messages.
type walker struct{ err error }

func (w *walker) pair(b []byte) (one, two []byte) {
	one, two, err := pair(b)
	if err != nil && w.err == nil {
		w.err = err
	}
	return one, two
}

func serializeIdentity(id Identity) ([]byte, error) {
	return proto.Marshal(&mspproto.SerializedIdentity{Mspid: id.MspID(), IdBytes: id.Credentials()})
}
