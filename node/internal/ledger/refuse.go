package ledger

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Refusal is why a gateway is not used any more, until the node starts again: what it gave did not check.
type Refusal struct {
	Gateway string    `json:"gateway"`
	Code    string    `json:"code"`
	En      string    `json:"en"`
	Zh      string    `json:"zh"`
	Block   uint64    `json:"block"` // where a block or a transaction of one is meant
	Tx      int       `json:"tx"`    // −1 where none is
	Time    time.Time `json:"time"`
}

// Fault is an error that says what is wrong with something that a gateway gave.
type Fault interface {
	error
	// Fault gives a stable code, the text in both languages, and the block and transaction (−1: none) meant.
	Fault() (code, en, zh string, block uint64, tx int)
}

// CodeAltered is the code of a gateway that returned another transaction than was proposed.
const CodeAltered = "gateway.altered"

// Fault is that of an altered transaction; there is none else among the errors of calls.
func (e *Error) Fault() (code, en, zh string, block uint64, tx int) {
	return CodeAltered, "the gateway returned another transaction than was proposed: " + e.Cause.Error(),
		"网关返回的交易与本节点的提案不一致：" + e.Cause.Error(), 0, -1
}

// errRefused is the cause of every failure once no gateway is left.
var errRefused = errors.New("every gateway is refused because what it gave did not check; /readyz of the admin listener names the causes. " +
	"Have the peers put right or name others in the configuration, then start the node again")

// Refuse puts the gateway of the last call of Blocks out of use until the node starts again: what it gave
// does not check. It reports whether another is left. An only gateway is never put out of use.
func (c *Client) Refuse(cause error) bool {
	c.mu.Lock()
	g := c.delivering
	c.mu.Unlock()
	if g == nil {
		return false
	}
	return c.refuse(g, cause)
}

func (c *Client) refuse(g *peerGateway, cause error) bool {
	r := &Refusal{Gateway: g.name, Code: "gateway.fault", En: cause.Error(), Zh: cause.Error(), Tx: -1, Time: time.Now()}
	var f Fault
	if errors.As(cause, &f) {
		r.Code, r.En, r.Zh, r.Block, r.Tx = f.Fault()
	}
	c.cfg.Logger.Error("what a gateway gave does not check", "gateway", g.name, "code", r.Code, "block", r.Block, "tx", r.Tx, "cause", r.En,
		"refused", len(c.gateways) > 1)
	if len(c.gateways) == 1 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.refused == nil {
		g.refused = r
	}
	for _, other := range c.gateways {
		if other.refused == nil {
			return true
		}
	}
	return false
}

// Refused lists the gateways that were put out of use, in the order of the configuration.
func (c *Client) Refused() []Refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Refusal
	for _, g := range c.gateways {
		if g.refused != nil {
			out = append(out, *g.refused)
		}
	}
	return out
}

// State says how a gateway is, for operators.
type State struct {
	Gateway string
	Height  uint64 // blocks that it last said it has
	Word    string // ok, resting, doubted, refused
	Cause   string // why it is not ok
}

// States lists all gateways in the order of the configuration.
func (c *Client) States() []State {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]State, len(c.gateways))
	now := time.Now()
	for i, g := range c.gateways {
		s := State{Gateway: g.name, Height: g.claim.height, Word: "ok"}
		var causes []string
		for _, r := range []*rest{&g.heights, &g.blocks, &g.calls} {
			if r.at(now) && r.cause != nil {
				s.Word = "resting"
				causes = append(causes, r.cause.Error())
			}
		}
		if g.claim.beyond() {
			s.Word = "doubted"
			causes = append(causes, fmt.Sprintf("it says that it has %d blocks and does not deliver block %d", g.claim.height, g.claim.limit))
		}
		if g.refused != nil {
			s.Word, causes = "refused", []string{g.refused.Code + ": " + g.refused.En}
		}
		s.Cause = strings.Join(causes, "; ")
		out[i] = s
	}
	return out
}

// String is the state in one line.
func (s State) String() string {
	line := fmt.Sprintf("%s: %s, %d blocks", s.Gateway, s.Word, s.Height)
	if s.Cause != "" {
		line += " (" + s.Cause + ")"
	}
	return line
}
