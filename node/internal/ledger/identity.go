package ledger

import (
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-gateway/pkg/client"
)

// speaker is an identity in use with what is made from it, one official client a gateway. It is immutable:
// a call goes from proposal to signature with the one that it began with, so that a renewal in between
// does not give a transaction two signers.
type speaker struct {
	identity Identity
	creator  []byte // serialized identity, as it stands in transactions
	gateways []*client.Gateway
}

func newSpeaker(id Identity, gateways []Gateway) (*speaker, error) {
	creator, err := serializeIdentity(id)
	if err != nil {
		return nil, err
	}
	s := &speaker{identity: id, creator: creator}
	for _, x := range gateways {
		gw, err := client.Connect(id, client.WithSign(id.SignDigest), client.WithClientConnection(x.Conn))
		if err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		s.gateways = append(s.gateways, gw)
	}
	return s, nil
}

func (s *speaker) contract(g *peerGateway, cfg Config) *client.Contract {
	return s.gateways[g.index].GetNetwork(cfg.Channel).GetContract(cfg.Chaincode)
}

func (s *speaker) close() error {
	var all []error
	for _, g := range s.gateways {
		all = append(all, g.Close())
	}
	return errors.Join(all...)
}

// begin gives a call whom it speaks as until its end.
func (c *Client) begin() *speaker {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[c.speaker]++
	return c.speaker
}

// end is for each begin. The last call of a renewed identity closes what was made from it.
func (c *Client) end(s *speaker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[s]--; c.calls[s] > 0 {
		return
	}
	delete(c.calls, s)
	if s != c.speaker {
		c.retire(s)
	}
}

// retire closes what was made from a renewed identity.
func (c *Client) retire(s *speaker) {
	if err := s.close(); err != nil {
		c.cfg.Logger.Warn("what was made from a renewed identity does not close", "error", err)
	}
}

// Renew speaks with another certificate of the same organisation from now on. Calls under way end with the
// one that they began with.
func (c *Client) Renew(id Identity) error {
	if id.MspID() != c.cfg.Identity.MspID() {
		return fmt.Errorf("ledger: the new certificate is of %s, not of %s", id.MspID(), c.cfg.Identity.MspID())
	}
	s, err := newSpeaker(id, c.cfg.Gateways)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return errors.New("ledger: the client is closed")
	}
	old := c.speaker
	c.speaker = s
	if c.calls[old] == 0 {
		c.retire(old)
	}
	return nil
}
