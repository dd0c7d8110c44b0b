package contract_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// stub is what a peer gives the chaincode for one proposal. As in Fabric, reads see the committed state and
// never the proposal's own writes; a method that the contract must not call is the nil interface's and panics.
type stub struct {
	shim.ChaincodeStubInterface
	args    [][]byte
	state   map[string][]byte
	writes  map[string][]byte
	creator []byte
	at      time.Time
	batch   bool
	name    string // of the chaincode that the proposal is for
}

func (s *stub) GetArgs() [][]byte           { return s.args }
func (s *stub) GetCreator() ([]byte, error) { return s.creator, nil }
func (s *stub) StartWriteBatch()            { s.batch = true }
func (s *stub) FinishWriteBatch() error     { s.batch = false; return nil }
func (s *stub) PutState(k string, v []byte) error {
	s.writes[k] = v
	return nil
}
func (s *stub) GetState(k string) ([]byte, error) { return s.state[k], nil }
func (s *stub) GetMultipleStates(keys ...string) ([][]byte, error) {
	out := make([][]byte, len(keys))
	for i, k := range keys {
		out[i] = s.state[k]
	}
	return out, nil
}
func (s *stub) GetSignedProposal() (*peer.SignedProposal, error) {
	marshal := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		return b
	}
	return &peer.SignedProposal{ProposalBytes: marshal(&peer.Proposal{Header: marshal(&common.Header{ChannelHeader: marshal(&common.ChannelHeader{
		Extension: marshal(&peer.ChaincodeHeaderExtension{ChaincodeId: &peer.ChaincodeID{Name: s.name}})})})})}, nil
}
func (s *stub) GetTxTimestamp() (*timestamppb.Timestamp, error) { return timestamppb.New(s.at), nil }

var certificates sync.Map // common name → PEM

// creator is a serialised identity with a certificate of the common name.
func creator(id model.MSPID, commonName string) []byte {
	cert, ok := certificates.Load(commonName)
	if !ok {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName}, NotAfter: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)}
		der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
		if err != nil {
			panic(err)
		}
		cert, _ = certificates.LoadOrStore(commonName, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	b, err := proto.Marshal(&msp.SerializedIdentity{Mspid: string(id), IdBytes: cert.([]byte)})
	if err != nil {
		panic(err)
	}
	return b
}

// peerNode invokes a contract and commits what it wrote, as a ledger would.
type peerNode struct {
	contract *contract.Contract
	state    map[string][]byte
	now      time.Time
}

func (p *peerNode) propose(id model.MSPID, cn string, at time.Time, args ...[]byte) (*peer.Response, *stub) {
	s := &stub{args: args, state: p.state, writes: map[string][]byte{}, creator: creator(id, cn), at: at}
	return p.contract.Invoke(s), s
}

func (p *peerNode) commit(s *stub) {
	for k, v := range s.writes {
		p.state[k] = v
	}
}
