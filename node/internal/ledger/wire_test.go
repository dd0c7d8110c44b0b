package ledger

import (
	"bytes"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sample is a proposal's header and the payload of its endorsed form, made by the general encoder.
func sample(t testing.TB) (*header, []byte) {
	own := &header{txID: "id", channel: []byte("channel"), signature: []byte("creator"), input: []byte("input")}
	payload := encode(t, &common.Payload{
		Header: &common.Header{ChannelHeader: own.channel, SignatureHeader: own.signature},
		Data: encode(t, &peer.Transaction{Actions: []*peer.TransactionAction{{
			Header: own.signature,
			Payload: encode(t, &peer.ChaincodeActionPayload{
				ChaincodeProposalPayload: encode(t, &peer.ChaincodeProposalPayload{Input: own.input}),
				Action:                   &peer.ChaincodeEndorsedAction{ProposalResponsePayload: []byte("answer")},
			}),
		}}}),
	})
	return own, payload
}

func TestSignedEnvelopeIsFabrics(t *testing.T) {
	own, payload := sample(t)
	if err := own.check(payload); err != nil {
		t.Fatal(err)
	}
	var got gateway.PreparedTransaction
	if err := proto.Unmarshal(signedEnvelope("id", payload, []byte("signature")), &got); err != nil {
		t.Fatal(err)
	}
	want := &gateway.PreparedTransaction{TransactionId: "id", Envelope: &common.Envelope{Payload: payload, Signature: []byte("signature")}}
	if !proto.Equal(&got, want) {
		t.Errorf("got %v", &got)
	}
}

// Whatever the payload, one that passes the check says, to the general decoder, what was proposed.
func FuzzCheck(f *testing.F) {
	own, payload := sample(f)
	f.Add(payload)
	f.Add(append(bytes.Clone(payload), payload...))
	f.Add(payload[:len(payload)-1])
	f.Add([]byte{0x0a, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if own.check(b) != nil {
			return
		}
		var p common.Payload
		var tx peer.Transaction
		var inner peer.ChaincodeActionPayload
		var input peer.ChaincodeProposalPayload
		for _, err := range []error{
			proto.Unmarshal(b, &p), proto.Unmarshal(p.GetData(), &tx),
		} {
			if err != nil {
				return // no ledger takes it
			}
		}
		if len(tx.GetActions()) != 1 {
			t.Fatalf("%d actions", len(tx.GetActions()))
		}
		action := tx.GetActions()[0]
		if proto.Unmarshal(action.GetPayload(), &inner) != nil || proto.Unmarshal(inner.GetChaincodeProposalPayload(), &input) != nil {
			return
		}
		if !bytes.Equal(p.GetHeader().GetChannelHeader(), own.channel) || !bytes.Equal(p.GetHeader().GetSignatureHeader(), own.signature) ||
			!bytes.Equal(action.GetHeader(), own.signature) || !bytes.Equal(input.GetInput(), own.input) || len(input.GetTransientMap()) != 0 {
			t.Errorf("passed: %x", b)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	for _, s := range []string{
		"chaincode response 500, personal_identifier", "evaluate call to endorser returned error: chaincode response 404, no such thing",
		"chaincode response 200, fine", "chaincode response 500, ", "chaincode response x, y", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := parseResponse(s)
		if ok == (c == "") || len(c) > maxCode {
			t.Errorf("%q: %q %v", s, c, ok)
		}
		if ok && c != model.CodeInternal && !bytes.Contains([]byte(s), []byte(c)) {
			t.Errorf("%q: %q", s, c)
		}
	})
}
