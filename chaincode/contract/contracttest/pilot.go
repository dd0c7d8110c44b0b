package contracttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"sync"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// LedgerMSP is the organisation of a pilot's ledger.
const LedgerMSP = "LedgerMSP"

// An Identity signs: a certificate of an organisation's authority, and its key.
type Identity struct {
	Msp        string
	Serialized []byte
	key        *ecdsa.PrivateKey
}

// An Authority certifies the identities of one organisation.
type Authority struct {
	Msp  string
	Root []byte // PEM
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	ids  sync.Map // common name → *Identity
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// NewAuthority makes an authority with a fresh key.
func NewAuthority(id string) *Authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca." + id}, NotBefore: Created.Add(-time.Hour), NotAfter: Created.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, t, t, key.Public(), key))
	return &Authority{
		Msp: id, Root: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert: must(x509.ParseCertificate(der)), key: key,
	}
}

// Identity is the one identity of a common name.
func (a *Authority) Identity(commonName string) *Identity {
	if id, ok := a.ids.Load(commonName); ok {
		return id.(*Identity)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	t := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), Subject: pkix.Name{CommonName: commonName}, NotBefore: Created.Add(-time.Hour),
		NotAfter: Created.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der := must(x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key))
	serialized := marshal(&msp.SerializedIdentity{Mspid: a.Msp, IdBytes: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})})
	id, _ := a.ids.LoadOrStore(commonName, &Identity{a.Msp, serialized, key})
	return id.(*Identity)
}

// Revoke is a revocation list that names an identity.
func (a *Authority) Revoke(id *Identity) []byte {
	var s msp.SerializedIdentity
	if err := proto.Unmarshal(id.Serialized, &s); err != nil {
		panic(err)
	}
	block, _ := pem.Decode(s.GetIdBytes())
	cert := must(x509.ParseCertificate(block.Bytes))
	return must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: Created, NextUpdate: Created.AddDate(1, 0, 0),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: cert.SerialNumber, RevocationTime: Created}},
	}, a.cert, a.key))
}

// Sign signs the parts, read as one, with a low S.
func (id *Identity) Sign(parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	r, s, err := ecdsa.Sign(rand.Reader, id.key, h.Sum(nil))
	if err != nil {
		panic(err)
	}
	n := id.key.Params().N
	if s.Cmp(new(big.Int).Rsh(n, 1)) > 0 {
		s.Sub(n, s)
	}
	return must(asn1.Marshal(struct{ R, S *big.Int }{r, s}))
}

var authorities sync.Map // organisation → *Authority: keys are made once for all tests

// AuthorityOf is the authority of an organisation in all pilots.
func AuthorityOf(id model.MSPID) *Authority {
	if a, ok := authorities.Load(id); ok {
		return a.(*Authority)
	}
	a, _ := authorities.LoadOrStore(id, NewAuthority(string(id)))
	return a.(*Authority)
}

// Pilot is an embedded ledger in small: the contract on a state in memory, and blocks as that ledger writes
// them (docs/spec/embedded-ledger.md).
type Pilot struct {
	*Ledger
	Blocks  [][]byte // block 0 first
	Headers []*common.BlockHeader
	Applied []model.Applied // of all blocks and of what waits for the next

	envelopes [][]byte // of the next block
	codes     []byte
}

// NewPilot is a pilot of Genesis after Init.
func NewPilot() *Pilot { return NewPilotOf(Genesis(), nil) }

// NewPilotOf is a pilot of a document, with revocation lists by organisation and members beside the document's.
func NewPilotOf(g *model.GenesisDocument, revoked map[model.MSPID][]byte, more ...model.MSPID) *Pilot {
	doc := must(model.Canonical(g))
	p := &Pilot{Ledger: &Ledger{
		Contract: &contract.Contract{Genesis: model.DigestOf(doc), Verify: func(string, []byte, []byte, []byte) error { return nil }},
		State:    State{}, Genesis: g, Document: doc,
	}}
	p.write(&common.Block{
		Header: &common.BlockHeader{}, Data: &common.BlockData{Data: [][]byte{configuration(g, revoked, more)}},
		Metadata: &common.BlockMetadata{Metadata: make([][]byte, 5)},
	})
	if _, err := p.Call("BeijingMSP", "beijing", Created, model.FunctionInit, doc); err != nil {
		panic(err)
	}
	p.Cut()
	return p
}

// Source is the hash by which the pilot's block 0 is known.
func (p *Pilot) Source() model.Digest { return HeaderHash(p.Headers[0]) }

// Position counts the pilot's leaves.
func (p *Pilot) Position() uint64 { return uint64(len(p.Applied)) }

// Chain is the running digest of the pilot's leaves.
func (p *Pilot) Chain() (d model.Digest) {
	for i := range p.Applied {
		a := &p.Applied[i]
		d = sha256.Sum256([]byte(string(d[:]) + string(a.Digest[:]) + recordDigest(a)))
	}
	return d
}

func recordDigest(a *model.Applied) string {
	d := model.RecordDigest(a.Op.Kind, a.Op.Record, a.Effect.Header)
	return string(d[:])
}

// Call executes a call and puts its transaction into the next block.
func (p *Pilot) Call(id model.MSPID, cn string, at time.Time, function string, args ...[]byte) (*model.Execution, error) {
	x, err := p.Contract.Execute(p.State, model.Call{Function: function, Args: args, Msp: id, CommonName: cn, Time: at})
	if err != nil {
		return nil, err
	}
	p.Apply(x)
	p.Applied = append(p.Applied, x.Applied...)
	p.Put(Envelope(AuthorityOf(id).Identity(cn), p.Genesis.Channel, at, x.Response, append([][]byte{[]byte(function)}, args...)...), peer.TxValidationCode_VALID)
	return x, nil
}

// Put puts a transaction into the next block.
func (p *Pilot) Put(envelope []byte, code peer.TxValidationCode) {
	p.envelopes, p.codes = append(p.envelopes, envelope), append(p.codes, byte(code))
}

// Cut makes the next block of what waits, if anything does.
func (p *Pilot) Cut() {
	if len(p.envelopes) == 0 {
		return
	}
	p.write(NewBlock(p.Headers[len(p.Headers)-1], p.envelopes, p.codes))
	p.envelopes, p.codes = nil, nil
}

func (p *Pilot) write(b *common.Block) {
	b.Header.DataHash = hashOf(b.GetData().GetData()...)
	p.Blocks, p.Headers = append(p.Blocks, marshal(b)), append(p.Headers, b.GetHeader())
}

// NewBlock makes the block after a header, signed by the ledger's organisation.
func NewBlock(previous *common.BlockHeader, envelopes [][]byte, codes []byte) *common.Block {
	before := HeaderHash(previous)
	h := &common.BlockHeader{Number: previous.GetNumber() + 1, PreviousHash: before[:], DataHash: hashOf(envelopes...)}
	b := &common.Block{Header: h, Data: &common.BlockData{Data: envelopes}, Metadata: &common.BlockMetadata{Metadata: make([][]byte, 5)}}
	SignBlock(b, AuthorityOf(LedgerMSP).Identity("ledger"), codes)
	return b
}

// SignBlock signs header and codes as somebody.
func SignBlock(b *common.Block, as *Identity, codes []byte) {
	value := marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{}, ConsenterMetadata: hashOf(codes)})
	header := marshal(&common.SignatureHeader{Creator: as.Serialized, Nonce: []byte("nonce")})
	b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = codes
	b.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES] = marshal(&common.Metadata{Value: value, Signatures: []*common.MetadataSignature{
		{SignatureHeader: header, Signature: as.Sign(value, header, headerBytes(b.GetHeader()))},
	}})
}

// Envelope is an endorsed transaction that somebody signed: what was asked, and the contract's answer.
func Envelope(as *Identity, channel string, at time.Time, answer []byte, args ...[]byte) []byte {
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		panic(err)
	}
	id := &peer.ChaincodeID{Name: "zhenglian"}
	ch := marshal(&common.ChannelHeader{
		Type: int32(common.HeaderType_ENDORSER_TRANSACTION), ChannelId: channel, Timestamp: timestamppb.New(at),
		TxId: hex.EncodeToString(hashOf(nonce, as.Serialized)), Extension: marshal(&peer.ChaincodeHeaderExtension{ChaincodeId: id}),
	})
	sh := marshal(&common.SignatureHeader{Creator: as.Serialized, Nonce: nonce})
	proposal := marshal(&peer.ChaincodeProposalPayload{Input: marshal(&peer.ChaincodeInvocationSpec{ChaincodeSpec: &peer.ChaincodeSpec{
		ChaincodeId: id, Input: &peer.ChaincodeInput{Args: args},
	}})})
	action := marshal(&peer.ChaincodeActionPayload{ChaincodeProposalPayload: proposal, Action: &peer.ChaincodeEndorsedAction{
		ProposalResponsePayload: marshal(&peer.ProposalResponsePayload{
			ProposalHash: hashOf(ch, sh, proposal),
			Extension:    marshal(&peer.ChaincodeAction{ChaincodeId: id, Response: &peer.Response{Status: 200, Payload: answer}}),
		}),
	}})
	payload := marshal(&common.Payload{
		Header: &common.Header{ChannelHeader: ch, SignatureHeader: sh},
		Data:   marshal(&peer.Transaction{Actions: []*peer.TransactionAction{{Header: sh, Payload: action}}}),
	})
	return marshal(&common.Envelope{Payload: payload, Signature: as.Sign(payload)})
}

func configuration(g *model.GenesisDocument, revoked map[model.MSPID][]byte, members []model.MSPID) []byte {
	group := func() *common.ConfigGroup {
		return &common.ConfigGroup{Groups: map[string]*common.ConfigGroup{}, Values: map[string]*common.ConfigValue{}}
	}
	root, application, ordering := group(), group(), group()
	organisation := func(id model.MSPID) *common.ConfigGroup {
		c := &msp.FabricMSPConfig{Name: string(id), RootCerts: [][]byte{AuthorityOf(id).Root}}
		if list := revoked[id]; list != nil {
			c.RevocationList = [][]byte{list}
		}
		o := group()
		o.Values["MSP"] = &common.ConfigValue{Value: marshal(&msp.MSPConfig{Config: marshal(c)})}
		return o
	}
	for _, o := range g.Organisations {
		members = append(members, o.Msp)
	}
	for _, id := range append(members, LedgerMSP) {
		application.Groups[string(id)] = organisation(id)
	}
	ordering.Groups[LedgerMSP] = application.Groups[LedgerMSP]
	ordering.Values["ConsensusType"] = &common.ConfigValue{Value: marshal(&orderer.ConsensusType{Type: "embedded"})}
	root.Groups["Application"], root.Groups["Orderer"] = application, ordering
	return marshal(&common.Envelope{Payload: marshal(&common.Payload{
		Header: &common.Header{ChannelHeader: marshal(&common.ChannelHeader{
			Type: int32(common.HeaderType_CONFIG), ChannelId: g.Channel, Timestamp: timestamppb.New(Created),
		})},
		Data: marshal(&common.ConfigEnvelope{Config: &common.Config{ChannelGroup: root}}),
	})})
}

// HeaderHash is the hash of a block's header.
func HeaderHash(h *common.BlockHeader) model.Digest { return sha256.Sum256(headerBytes(h)) }

func headerBytes(h *common.BlockHeader) []byte {
	return must(asn1.Marshal(struct {
		Number             *big.Int
		Previous, DataHash []byte
	}{new(big.Int).SetUint64(h.GetNumber()), h.GetPreviousHash(), h.GetDataHash()}))
}

func hashOf(parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func marshal(m proto.Message) []byte {
	return must(proto.MarshalOptions{Deterministic: true}.Marshal(m))
}
