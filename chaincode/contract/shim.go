package contract

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// EndorseSkew is the most that a proposal's timestamp may differ from the endorser's own clock.
const EndorseSkew = 5 * time.Minute

// Init answers Fabric's legacy initialisation, which is not used: the contract's Init is a function.
func (c *Contract) Init(shim.ChaincodeStubInterface) *peer.Response { return shim.Success(nil) }

// Invoke answers a proposal. A response of status 200 carries a model.Response; any other carries a code.
func (c *Contract) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	payload, err := c.invoke(stub)
	if err != nil {
		e := model.AsError(err)
		imports := strings.HasPrefix(string(e.Code), "import_") && e.Code != model.CodeImportOpen
		if (imports || e.Kind() == model.Internal) && c.Trouble != nil {
			c.Trouble(e)
		}
		return shim.Error(string(e.Code))
	}
	return shim.Success(payload)
}

func (c *Contract) invoke(stub shim.ChaincodeStubInterface) ([]byte, error) {
	args := stub.GetArgs()
	if len(args) == 0 {
		return nil, model.E(model.CodeUnknownOperation)
	}
	state := stubState{stub}
	if string(args[0]) == model.FunctionGet {
		if len(args) != 3 {
			return nil, model.E(model.CodeMissingField)
		}
		return Get(state, model.Kind(args[1]), model.RecordID(args[2]))
	}
	if err := c.direct(stub); err != nil {
		return nil, err
	}
	call := model.Call{Function: string(args[0]), Args: args[1:]}
	ts, err := stub.GetTxTimestamp()
	if err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	call.Time = ts.AsTime()
	now := time.Now
	if c.Clock != nil {
		now = c.Clock
	}
	if d := now().Sub(call.Time); d > EndorseSkew || d < -EndorseSkew {
		return nil, model.E(model.CodeTimeSkew)
	}
	creator, err := stub.GetCreator()
	if err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	if call.Msp, call.CommonName, err = Creator(creator); err != nil {
		return nil, err
	}
	x, err := c.Execute(state, call)
	if err != nil {
		return nil, err
	}
	return x.Response, write(stub, x.Writes)
}

// direct checks that nobody calls through another chaincode. Fabric would take what such a call writes as part of the
// other's transaction, which followers do not execute: they would take it for a forgery and stop.
func (c *Contract) direct(stub shim.ChaincodeStubInterface) error {
	if c.Name == "" {
		return nil
	}
	signed, err := stub.GetSignedProposal()
	if err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	var proposal peer.Proposal
	var header common.Header
	var channel common.ChannelHeader
	var extension peer.ChaincodeHeaderExtension
	if err := errors.Join(
		proto.Unmarshal(signed.GetProposalBytes(), &proposal), proto.Unmarshal(proposal.GetHeader(), &header),
		proto.Unmarshal(header.GetChannelHeader(), &channel), proto.Unmarshal(channel.GetExtension(), &extension),
	); err != nil {
		return model.E(model.CodeUnauthenticated).Because(err)
	}
	if name := extension.GetChaincodeId().GetName(); name != c.Name {
		return model.E(model.CodeForbidden).With("the proposal is for chaincode %.80q and not for %q", name, c.Name)
	}
	return nil
}

// write puts the writes, in one message where the peer can.
func write(stub shim.ChaincodeStubInterface, writes []model.StateWrite) error {
	stub.StartWriteBatch()
	for _, w := range writes {
		if err := stub.PutState(w.Key, w.Value); err != nil {
			return model.E(model.CodeInternal).Because(err)
		}
	}
	if err := stub.FinishWriteBatch(); err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	return nil
}

// Creator reads MSP id and common name out of a serialised identity, whose validity the ledger has checked.
func Creator(serialised []byte) (model.MSPID, string, error) {
	var id msp.SerializedIdentity
	if err := proto.Unmarshal(serialised, &id); err != nil {
		return "", "", model.E(model.CodeUnauthenticated).Because(err)
	}
	block, _ := pem.Decode(id.IdBytes)
	if block == nil {
		return "", "", model.E(model.CodeUnauthenticated)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", "", model.E(model.CodeUnauthenticated).Because(err)
	}
	return model.MSPID(id.Mspid), cert.Subject.CommonName, nil
}

type stubState struct{ shim.ChaincodeStubInterface }

func (s stubState) Get(key string) ([]byte, error) {
	b, err := s.GetState(key)
	if err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	return b, nil
}

func (s stubState) GetMany(keys []string) ([][]byte, error) {
	b, err := s.GetMultipleStates(keys...)
	if err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	return b, nil
}
