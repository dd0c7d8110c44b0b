// Package ledger is the seam between a node and its ledger: the official Fabric Gateway client over one or
// more gateways, with what that client leaves to its user. It fails over, bounds calls in flight, gives
// every call a deadline, refuses to sign an envelope that the gateway has altered, and says after each
// failure what is known.
//
// Behind it stands Hyperledger Fabric or the embedded ledger; nothing here tells them apart.
package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// Identity signs for the node. It is immutable and safe for concurrent use.
type Identity interface {
	MspID() string
	Credentials() []byte                      // the certificate, PEM
	SignDigest(digest []byte) ([]byte, error) // ECDSA with low S over a SHA-256 digest, DER
}

// Config is what a Client is made from. Zero limits take the default in the comment.
type Config struct {
	Gateways  []Gateway // at least one, each of another name, in the order in which they are preferred
	Identity  Identity
	Channel   string
	Chaincode string
	Logger    *slog.Logger // nil: slog.Default

	EndorseTimeout  time.Duration // one Endorse call, and so what a gateway that hangs costs: 15 s
	EvaluateTimeout time.Duration // one Evaluate call: 15 s
	SubmitTimeout   time.Duration // one Submit call: 15 s
	StatusTimeout   time.Duration // one CommitStatus call: 60 s
	InFlight        int           // calls at a time per gateway, below Fabric's 500: 390
	Rest            time.Duration // a gateway that failed is passed over this long: 2 s
	MaxRest         time.Duration // doubled with each failure in a row up to: 30 s
	Return          time.Duration // one that was left for another is preferred again when it has been well for: 1 min
	HeightTimeout   time.Duration // one question for a gateway's height: 3 s
	HeightGrace     time.Duration // after the first answer the others are waited for: 250 ms
	Claim           time.Duration // a height counts after the gateway said it last: 30 s
}

func (c *Config) defaults() {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.EndorseTimeout, 15 * time.Second}, {&c.EvaluateTimeout, 15 * time.Second},
		{&c.SubmitTimeout, 15 * time.Second}, {&c.StatusTimeout, time.Minute}, {&c.Rest, 2 * time.Second},
		{&c.MaxRest, 30 * time.Second}, {&c.HeightTimeout, 3 * time.Second}, {&c.HeightGrace, 250 * time.Millisecond},
		{&c.Claim, 30 * time.Second}, {&c.Return, time.Minute},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	c.MaxRest = max(c.MaxRest, c.Rest)
	if c.InFlight <= 0 {
		c.InFlight = 390
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Client speaks to a ledger. It is safe for concurrent use.
type Client struct {
	cfg      Config
	gateways []*peerGateway
	metrics  *metrics

	ctx    context.Context // ends with Close
	close  context.CancelFunc
	asking sync.WaitGroup // questions for heights

	mu         sync.Mutex
	delivering *peerGateway            // guarded by mu; the gateway of the last call of Blocks, nil before the first
	leave      context.CancelCauseFunc // guarded by mu; ends that call
	got        uint64                  // guarded by mu; blocks that its caller has
	speaker    *speaker                // guarded by mu; whom calls begin with
	calls      map[*speaker]int        // guarded by mu; calls under way by speaker, never 0
}

// New makes a client. It speaks to nobody yet.
func New(cfg Config) (*Client, error) {
	cfg.defaults()
	if len(cfg.Gateways) == 0 || cfg.Identity == nil || cfg.Channel == "" || cfg.Chaincode == "" {
		return nil, errors.New("ledger: gateways, identity, channel and chaincode are needed")
	}
	c := &Client{cfg: cfg, calls: map[*speaker]int{}}
	names := map[string]bool{}
	for i, x := range cfg.Gateways {
		if x.Name == "" || names[x.Name] {
			return nil, fmt.Errorf("ledger: gateways need names of their own, %q is not one", x.Name)
		}
		names[x.Name] = true
		g := &peerGateway{name: x.Name, index: i, deliver: peer.NewDeliverClient(x.Conn), slots: make(chan struct{}, cfg.InFlight)}
		g.revive()
		c.gateways = append(c.gateways, g)
	}
	c.metrics = newMetrics(c)
	var err error
	if c.speaker, err = newSpeaker(cfg.Identity, cfg.Gateways); err != nil {
		return nil, err
	}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c, nil
}

// Close ends what the client started. The connections are their owner's.
func (c *Client) Close() error {
	c.mu.Lock() // so that nothing is begun after Wait
	c.close()
	c.mu.Unlock()
	c.asking.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []error{c.speaker.close()}
	for s := range c.calls {
		if s != c.speaker {
			all = append(all, s.close())
		}
	}
	return errors.Join(all...)
}

// Propose has a call of the contract endorsed and signs the transaction, after checking that it holds this
// node's own header and arguments. The proposal carries the present time. Nothing is ordered. result is
// what the contract answered; envelope is for Submit, and is to be stored before.
//
// Errors are *Error: Refused with the contract's code; Conflict when endorsers disagree, mostly because one is
// some blocks behind; Altered; else NotOrdered. All are safe to propose again. A gateway that altered the
// transaction is refused, where it is not the only one, and the next is used.
func (c *Client) Propose(ctx context.Context, function string, args [][]byte) (txID string, result, envelope []byte, err error) {
	err = c.call(ctx, StageEndorse, c.cfg.EndorseTimeout, func(ctx context.Context, g *peerGateway, by *speaker) error {
		p, err := by.contract(g, c.cfg).NewProposal(function, client.WithBytesArguments(args...))
		if err != nil {
			return &Error{Stage: StageEndorse, Kind: NotOrdered, Cause: err}
		}
		own, err := ownHeader(p)
		if err != nil {
			return &Error{Stage: StageEndorse, Kind: NotOrdered, TxID: p.TransactionID(), Cause: err}
		}
		tx, err := p.EndorseWithContext(ctx)
		if err != nil {
			return endorseError(p.TransactionID(), err)
		}
		txID, result = own.txID, tx.Result()
		envelope, err = by.sign(tx, own)
		return err
	})
	if err != nil {
		return "", nil, nil, err
	}
	return txID, result, envelope, nil
}

// sign checks an endorsed transaction against the proposal it should be of, and signs it.
func (s *speaker) sign(tx *client.Transaction, own *header) ([]byte, error) {
	raw, err := tx.Bytes()
	if err != nil {
		return nil, &Error{Stage: StageEndorse, Kind: NotOrdered, TxID: own.txID, Cause: err}
	}
	w := walker{}
	_, envelope := w.pair(raw)     // PreparedTransaction: id, Envelope
	payload, _ := w.pair(envelope) // Envelope: payload, signature
	if w.err != nil {
		return nil, altered(own, w.err)
	}
	if err := own.check(payload); err != nil {
		return nil, altered(own, err)
	}
	digest := sha256.Sum256(payload)
	signature, err := s.identity.SignDigest(digest[:])
	if err != nil {
		return nil, &Error{Stage: StageEndorse, Kind: NotOrdered, TxID: own.txID, Cause: err}
	}
	return signedEnvelope(own.txID, payload, signature), nil
}

// Submit sends an envelope that Propose made for ordering. Success means ordered, not committed. Sending
// one envelope many times is harmless: the ledger takes a transaction id once.
//
// Errors are *Error: Refused means that this attempt was turned down; an earlier attempt may still have
// been ordered. NotOrdered means that this attempt certainly was not; all else is PerhapsOrdered. A
// gateway that cannot be reached is passed over for the next.
func (c *Client) Submit(ctx context.Context, envelope []byte) error {
	return c.call(ctx, StageSubmit, c.cfg.SubmitTimeout, func(ctx context.Context, g *peerGateway, by *speaker) error {
		tx, err := by.gateways[g.index].NewTransaction(envelope)
		if err != nil {
			return &Error{Stage: StageSubmit, Kind: Refused, Cause: err}
		}
		_, err = tx.SubmitWithContext(ctx)
		return submitError(tx.TransactionID(), err)
	})
}

// Status waits until a transaction is committed on the gateway's ledger and says how. It serves tools;
// the node itself learns outcomes from blocks.
func (c *Client) Status(ctx context.Context, txID string) (code peer.TxValidationCode, block uint64, err error) {
	err = c.call(ctx, StageStatus, c.cfg.StatusTimeout, func(ctx context.Context, g *peerGateway, by *speaker) error {
		request, err := proto.Marshal(&gateway.CommitStatusRequest{ChannelId: c.cfg.Channel, TransactionId: txID, Identity: by.creator})
		if err != nil {
			return err
		}
		signed, err := proto.Marshal(&gateway.SignedCommitStatusRequest{Request: request})
		if err != nil {
			return err
		}
		commit, err := by.gateways[g.index].NewCommit(signed)
		if err != nil {
			return err
		}
		s, err := commit.StatusWithContext(ctx)
		if err != nil {
			return plainError(StageStatus, txID, err)
		}
		code, block = s.Code, s.BlockNumber
		return nil
	})
	return code, block, err
}

// Evaluate asks the contract without ordering anything.
func (c *Client) Evaluate(ctx context.Context, function string, args ...[]byte) ([]byte, error) {
	var out []byte
	err := c.call(ctx, StageEvaluate, c.cfg.EvaluateTimeout, func(ctx context.Context, g *peerGateway, by *speaker) error {
		var err error
		out, err = by.contract(g, c.cfg).EvaluateWithContext(ctx, function, client.WithBytesArguments(args...))
		if err != nil {
			return plainError(StageEvaluate, "", err)
		}
		return nil
	})
	return out, err
}
