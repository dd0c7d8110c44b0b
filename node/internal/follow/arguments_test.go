package follow_test

import (
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// withArguments changes the arguments that an envelope's transaction gave the contract, and nothing else.
func withArguments(t *testing.T, env *common.Envelope, change func([][]byte) [][]byte) *common.Envelope {
	t.Helper()
	var payload common.Payload
	var tx peer.Transaction
	var action peer.ChaincodeActionPayload
	var proposal peer.ChaincodeProposalPayload
	var spec peer.ChaincodeInvocationSpec
	for _, x := range []struct {
		raw func() []byte
		m   proto.Message
	}{
		{func() []byte { return env.Payload }, &payload},
		{func() []byte { return payload.Data }, &tx},
		{func() []byte { return tx.Actions[0].Payload }, &action},
		{func() []byte { return action.ChaincodeProposalPayload }, &proposal},
		{func() []byte { return proposal.Input }, &spec},
	} {
		if err := proto.Unmarshal(x.raw(), x.m); err != nil {
			t.Fatal(err)
		}
	}
	in := spec.ChaincodeSpec.Input
	ops, err := model.Unpack(in.Args[1:])
	if err != nil {
		t.Fatal(err)
	}
	args := change(append(in.Args[:1:1], ops...))
	in.Args = append(args[:1:1], model.Pack(args[1:])...)
	proposal.Input = marshal(t, &spec)
	action.ChaincodeProposalPayload = marshal(t, &proposal)
	tx.Actions[0].Payload = marshal(t, &action)
	payload.Data = marshal(t, &tx)
	return &common.Envelope{Payload: marshal(t, &payload), Signature: env.Signature}
}

func withoutLastArgument(t *testing.T, env *common.Envelope) *common.Envelope {
	return withArguments(t, env, func(a [][]byte) [][]byte { return a[:len(a)-1] })
}

func swappedArguments(t *testing.T, env *common.Envelope) *common.Envelope {
	return withArguments(t, env, func(a [][]byte) [][]byte {
		a[1], a[2] = a[2], a[1]
		return a
	})
}
