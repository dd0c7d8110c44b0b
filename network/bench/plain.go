package bench

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"google.golang.org/grpc"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// plain is the official Gateway client as its documentation shows it: one connection to one peer, one record a
// transaction, Submit and then the commit status.
type plain struct {
	conn     *grpc.ClientConn
	gateway  *client.Gateway
	network  *client.Network
	contract *client.Contract
	issuer   *model.Agency
	signer   envelope.Signer

	next   atomic.Int64 // licence and place of the next
	failed atomic.Int64 // calls that failed before their transaction was ordered, and were made anew
}

func newPlain(net *fabric.Network) (*plain, error) {
	p := &plain{}
	raw, err := os.ReadFile(net.GenesisFile())
	if err != nil {
		return nil, err
	}
	genesis, _, err := model.DecodeGenesis(raw)
	if err != nil {
		return nil, err
	}
	for i := range genesis.Agencies {
		if genesis.Agencies[i].ID == plainAgency {
			p.issuer = &genesis.Agencies[i]
		}
	}
	if p.issuer == nil || len(p.issuer.Keys) == 0 {
		return nil, fmt.Errorf("the genesis document has no agency %s with a key", plainAgency)
	}
	key, err := os.ReadFile(filepath.Join(net.Node(plainOrg).Dir, "keys", string(plainAgency), p.issuer.Keys[0].ID+".pem"))
	if err != nil {
		return nil, err
	}
	if p.signer, err = envelope.ParseKey(key); err != nil {
		return nil, err
	}
	for _, org := range net.Orgs() {
		if org.ID == plainOrg {
			err = p.connect(net, org.Node())
		}
	}
	return p, err
}

func (p *plain) connect(net *fabric.Network, files fabric.Identity) error {
	cert, err := os.ReadFile(files.Cert)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(files.Key)
	if err != nil {
		return err
	}
	x, err := identity.CertificateFromPEM(cert)
	if err != nil {
		return err
	}
	id, err := identity.NewX509Identity(files.MSP, x)
	if err != nil {
		return err
	}
	private, err := identity.PrivateKeyFromPEM(key)
	if err != nil {
		return err
	}
	sign, err := identity.NewPrivateKeySign(private)
	if err != nil {
		return err
	}
	if p.conn, err = net.Peer(plainOrg).Dial(); err != nil {
		return err
	}
	p.gateway, err = client.Connect(id, client.WithSign(sign), client.WithHash(hash.SHA256), client.WithClientConnection(p.conn),
		client.WithEvaluateTimeout(15*time.Second), client.WithEndorseTimeout(15*time.Second),
		client.WithSubmitTimeout(15*time.Second), client.WithCommitStatusTimeout(time.Minute))
	if err != nil {
		return errors.Join(err, p.conn.Close())
	}
	p.network = p.gateway.GetNetwork(fabric.Channel)
	p.contract = p.network.GetContract(fabric.Contract)
	return nil
}

func (p *plain) close() {
	if p.gateway != nil {
		_ = p.gateway.Close()
		_ = p.conn.Close()
	}
}

// spread is how many pages take turns: ids that are given one after another lie in as many different pages, so a
// page comes up again only spread transactions later, when its last one is long committed. The pages fill up all the
// same, and no id is left out.
const spread = 1024

// serialOf is the serial of the n-th record, n from 0.
func serialOf(n int) uint64 {
	round, place := n/(spread*model.PageSize), n%(spread*model.PageSize)
	page, slot := place%spread, place/spread
	return uint64(model.PageSize + (round*spread+page)*model.PageSize + slot) // the first page holds no serial 0
}

// issue is the operation that a node would make of the n-th licence: completed and signed. Its time is stamped when
// it is proposed, as a node does.
func (p *plain) issue(n int) (*model.Operation, error) {
	serial := serialOf(n)
	v := sample("HE", n)
	v.Issuer, v.Region = p.issuer.USCC, p.issuer.Region
	var err error
	if v.Identifier, err = model.NewLicenceID(model.LicenceIDParts{Type: string(v.Type), Issuer: string(v.Issuer), Serial: identifierSerial(serial), Version: 1}); err != nil {
		return nil, err
	}
	message, err := v.SigningBytes()
	if err != nil {
		return nil, err
	}
	signature, err := p.signer.Sign(message)
	if err != nil {
		return nil, err
	}
	v.Signature = &model.Signature{Alg: string(p.signer.Alg()), Key: p.issuer.Keys[0].ID, Value: base64.RawURLEncoding.EncodeToString(signature)}
	body := model.IssueBody{Value: v}
	op := &model.Operation{
		Agency: plainAgency, ID: model.NewOpID(), Kind: model.KindLicence, Person: model.Pseudonym(model.NewOpID().String()),
		Record: model.NewRecordID(plainAgency, serial), Type: model.LicenceIssue, Version: 1,
	}
	op.Body, err = body.EncodeBody()
	return op, err
}

// prepare makes operations beforehand, so that the clock sees the plain client do nothing but transactions.
func (p *plain) prepare(n int) ([]*model.Operation, error) {
	ops := make([]*model.Operation, n)
	for i := range ops {
		var err error
		if ops[i], err = p.issue(int(p.next.Add(1)) - 1); err != nil {
			return nil, err
		}
	}
	return ops, nil
}

// attempts is how often an operation is proposed before the benchmark gives up.
const attempts = 5

// write submits one operation in a transaction of its own and waits for its commit status. What fails before it is
// ordered is made anew, and counted. So is a transaction that stands invalid in a block, where it is counted.
func (p *plain) write(ctx context.Context, op *model.Operation) error {
	for n := 1; ; n++ {
		op.Time = model.TimeOf(time.Now())
		result, err := p.contract.Submit(model.FunctionApply, client.WithBytesArguments(op.Encode()))
		if err == nil {
			if string(result) != `{"accepted":1}` {
				return fmt.Errorf("the contract refuses %s: %.300s", op.Record, result)
			}
			return nil
		}
		var invalid *client.CommitError
		var endorse *client.EndorseError
		switch {
		case errors.As(err, &invalid):
			// counted in the blocks
		case errors.As(err, &endorse) && ctx.Err() == nil:
			p.failed.Add(1)
		default:
			return err // perhaps it was ordered: to send it again is not plain any more
		}
		if n == attempts {
			return err
		}
	}
}

// get evaluates the contract's read function.
func (p *plain) get(record model.RecordID) error {
	out, err := p.contract.Evaluate(model.FunctionGet, client.WithArguments(string(model.KindLicence), string(record)))
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("nothing is known of %s", record)
	}
	return err
}
