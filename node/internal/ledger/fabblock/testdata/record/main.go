// Record makes the chains in the folder above: it brings up a real Fabric, sends it right and wrong transactions and
// configuration updates, and writes down the blocks that a peer made of them, with the validation codes that it gave.
//
//	go run ./node/internal/ledger/fabblock/testdata/record -bin DIR -out node/internal/ledger/fabblock/testdata/raft
//	go run ./node/internal/ledger/fabblock/testdata/record -bin DIR -consensus bft -out …/testdata/bft
//
// DIR holds peer, orderer, configtxgen and cryptogen (zl-network build makes them; bft needs Fabric 3). OUT.blocks.gz gets the
// blocks, OUT.json what was tried with which transaction. Neither holds a private key.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock/fabblocktest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

const chaincode = "kv"

// kv is the contract: put KEY VALUE writes, get KEY reads and writes it back.
type kv struct{}

func (kv) Init(shim.ChaincodeStubInterface) *peer.Response { return &peer.Response{Status: 200} }

func (kv) Invoke(s shim.ChaincodeStubInterface) *peer.Response {
	args := s.GetStringArgs()
	if len(args) < 3 {
		return &peer.Response{Status: 400, Message: "put KEY VALUE"}
	}
	if _, err := s.GetState(args[1]); err != nil {
		return &peer.Response{Status: 500, Message: err.Error()}
	}
	if err := s.PutState(args[1], []byte(args[2])); err != nil {
		return &peer.Response{Status: 500, Message: err.Error()}
	}
	return &peer.Response{Status: 200}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "ccaas" {
		if err := fabric.Builder(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	if id := os.Getenv("CHAINCODE_ID"); id != "" {
		log.Fatal(serve(id))
	}
	bin := flag.String("bin", "", "folder of Fabric's programs")
	consensus := flag.String("consensus", "raft", "raft or bft")
	out := flag.String("out", "", "what the files are called, without .blocks.gz and .json")
	flag.Parse()
	if err := record(*bin, fabric.Consensus(*consensus), *out); err != nil {
		log.Fatal(err)
	}
}

func serve(id string) error {
	read := func(name string) []byte {
		b, err := os.ReadFile(os.Getenv(name))
		if err != nil {
			log.Fatal(err)
		}
		return b
	}
	s := &shim.ChaincodeServer{CCID: id, Address: os.Getenv("CHAINCODE_SERVER_ADDRESS"), CC: kv{}, TLSProps: shim.TLSProperties{
		Key: read("CHAINCODE_TLS_KEY"), Cert: read("CHAINCODE_TLS_CERT"), ClientCACerts: read("CHAINCODE_CLIENT_CA_CERT")}}
	return s.Start()
}

// recorder drives the network and collects its blocks.
type recorder struct {
	ctx    context.Context
	n      *fabric.Network
	conn   *grpc.ClientConn // to the first peer
	gw     *client.Gateway
	net    *client.Network
	client map[string]*msp.Identity // by organisation: node, and so on
	admin  map[string]*msp.Identity
	peer   map[string]*msp.Identity
	events <-chan *common.Block
	blocks []*common.Block
	what   map[string]string // what was tried, by the SHA-256 of the envelope's bytes in the block
}

func record(bin string, consensus fabric.Consensus, out string) (err error) {
	if bin == "" || out == "" {
		return fmt.Errorf("give -bin and -out")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "record")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	n, err := fabric.Up(ctx, fabric.Spec{Dir: dir, Orgs: 3, Consensus: consensus, Bin: bin, Attached: true, Batch: fabric.Batch{Timeout: 40 * time.Millisecond}},
		func(s fabric.Step) { log.Println(s.Name, s.Took.Round(time.Millisecond), s.Note) })
	if n != nil {
		defer func() { log.Println("down:", n.Down(context.Background(), true)) }()
	}
	if err != nil {
		return err
	}
	r := &recorder{ctx: ctx, n: n, what: map[string]string{}}
	if err := r.open(); err != nil {
		return err
	}
	defer r.conn.Close()
	defer r.gw.Close()
	if err := r.play(consensus); err != nil {
		return err
	}
	return r.save(out)
}

func (r *recorder) open() error {
	r.client, r.admin, r.peer = map[string]*msp.Identity{}, map[string]*msp.Identity{}, map[string]*msp.Identity{}
	load := func(mspID, cert, key string) *msp.Identity {
		c, err := os.ReadFile(cert)
		if err != nil {
			log.Fatal(err)
		}
		k, err := os.ReadFile(key)
		if err != nil {
			log.Fatal(err)
		}
		id, err := msp.NewIdentity(mspID, c, k)
		if err != nil {
			log.Fatal(err)
		}
		return id
	}
	for _, o := range r.n.Orgs() {
		r.client[o.MSP] = load(o.MSP, o.Node().Cert, o.Node().Key)
		r.admin[o.MSP] = load(o.MSP, o.Admin().Cert, o.Admin().Key)
		home := filepath.Join(o.Dir(), "peers", "peer."+o.Domain, "msp")
		certs, err := filepath.Glob(filepath.Join(home, "signcerts", "*.pem"))
		if err != nil || len(certs) != 1 {
			return fmt.Errorf("%s: %d certificates, %v", home, len(certs), err)
		}
		r.peer[o.MSP] = load(o.MSP, certs[0], filepath.Join(home, "keystore", "priv_sk"))
	}
	var err error
	if r.conn, err = r.n.Peers()[0].Dial(); err != nil {
		return err
	}
	me := r.client["BeijingMSP"]
	if r.gw, err = client.Connect(me, client.WithSign(me.SignDigest), client.WithClientConnection(r.conn)); err != nil {
		return err
	}
	r.net = r.gw.GetNetwork(fabric.Channel)
	r.events, err = r.net.BlockEvents(r.ctx, client.WithStartBlock(0))
	return err
}

func key(raw []byte) string { return fmt.Sprintf("%x", sha256.Sum256(raw)) }

// send orders an envelope and waits for its block. The code is what the peer says of it.
func (r *recorder) send(what string, env *common.Envelope) (peer.TxValidationCode, error) {
	raw, err := proto.Marshal(env)
	if err != nil {
		return 0, err
	}
	r.what[key(raw)] = what
	var header common.ChannelHeader
	var payload common.Payload
	if err := proto.Unmarshal(env.GetPayload(), &payload); err == nil {
		_ = proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &header)
	}
	if _, err := gateway.NewGatewayClient(r.conn).Submit(r.ctx, &gateway.SubmitRequest{
		TransactionId: header.GetTxId(), ChannelId: fabric.Channel, PreparedTransaction: env}); err != nil {
		log.Printf("%-70s refused by the orderers: %v", what, err)
		return 0, r.ctx.Err()
	}
	code, err := r.await(raw)
	log.Printf("%-70s %s", what, code)
	return code, err
}

// await collects blocks until one holds the envelope.
func (r *recorder) await(raw []byte) (peer.TxValidationCode, error) {
	for {
		select {
		case b, ok := <-r.events:
			if !ok {
				return 0, fmt.Errorf("the peer's blocks ended: %w", r.ctx.Err())
			}
			r.blocks = append(r.blocks, b)
			filter, err := fabblock.Filter(b)
			if err != nil {
				return 0, err
			}
			for i, d := range b.GetData().GetData() {
				if bytes.Equal(d, raw) {
					return peer.TxValidationCode(filter[i]), nil
				}
			}
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

// endorse has a proposal endorsed by the named organisations, all if none is named.
func (r *recorder) endorse(contract string, by []string, args ...string) (*common.Envelope, error) {
	options := []client.ProposalOption{client.WithArguments(args...)}
	if len(by) > 0 {
		options = append(options, client.WithEndorsingOrganizations(by...))
	}
	var tx *client.Transaction
	for try := 0; ; try++ {
		p, err := r.net.GetContract(contract).NewProposal("put", options...)
		if err != nil {
			return nil, err
		}
		if tx, err = p.EndorseWithContext(r.ctx); err == nil {
			break
		}
		if try == 20 || status.Code(err) != codes.Aborted {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond) // the peers are at different heights
	}
	signed, err := tx.Bytes()
	if err != nil {
		return nil, err
	}
	var prepared gateway.PreparedTransaction
	if err := proto.Unmarshal(signed, &prepared); err != nil {
		return nil, err
	}
	env := prepared.GetEnvelope()
	if len(env.GetSignature()) == 0 {
		if env.Signature, err = r.client["BeijingMSP"].Sign(env.GetPayload()); err != nil {
			return nil, err
		}
	}
	return env, nil
}

func (r *recorder) put(what string, contract string, by []string, args ...string) error {
	env, err := r.endorse(contract, by, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err = r.send(what, env)
	return err
}

// forge sends a transaction that is made here, with the peers' own keys.
func (r *recorder) forge(what string, t fabblocktest.Transaction) error {
	t.Channel = fabric.Channel
	if t.Chaincode == "" {
		t.Chaincode = chaincode
	}
	if t.Creator == nil {
		t.Creator = r.client["BeijingMSP"]
	}
	if t.Endorsers == nil {
		t.Endorsers = r.peers("BeijingMSP", "TianjinMSP")
	}
	_, err := r.send(what, t.Envelope())
	return err
}

func (r *recorder) peers(orgs ...string) []fabblocktest.Signer {
	var out []fabblocktest.Signer
	for _, o := range orgs {
		out = append(out, r.peer[o])
	}
	return out
}

func (r *recorder) save(out string) error {
	var raw bytes.Buffer
	z, err := gzip.NewWriterLevel(&raw, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, b := range r.blocks {
		if _, err := protodelim.MarshalTo(z, b); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(out+".blocks.gz", raw.Bytes(), 0o644); err != nil {
		return err
	}
	notes, err := json.MarshalIndent(r.what, "", " ")
	if err != nil {
		return err
	}
	log.Printf("%d blocks, %d bytes", len(r.blocks), raw.Len())
	return os.WriteFile(out+".json", append(notes, '\n'), 0o644)
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	return path
}
