package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxToken    = 8 << 10
	tokenKept   = 5 * time.Minute // a token is looked at again after this, so that a key that an issuer withdrew ends
	tokensKept  = 10_000
	maxIssuers  = 16
	tokenPrefix = "eyJ" // every JWT begins so: base64url of {"
)

// Issuers are the OpenID Connect issuers that this node trusts. Safe for concurrent use.
type Issuers struct {
	list    []*issuer
	now     func() time.Time
	working chan struct{} // holds a token for each signature that is verified, whosever it is said to be

	mu         sync.Mutex
	young, old map[[32]byte]verified // under mu: two generations; when the young one is full it becomes the old one
}

// verified is a token that was found good.
type verified struct {
	subject Subject
	until   time.Time
}

// NewIssuers checks the configurations; it asks nobody. Each issuer is asked when it is first needed.
func NewIssuers(configs []IssuerConfig) (*Issuers, error) {
	if len(configs) > maxIssuers {
		return nil, fmt.Errorf("oidc: more than %d issuers", maxIssuers)
	}
	s := &Issuers{now: time.Now, young: map[[32]byte]verified{}, working: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))}
	for _, c := range configs {
		i, err := newIssuer(c)
		if err != nil {
			return nil, err
		}
		if s.find(c.Issuer) != nil {
			return nil, fmt.Errorf("oidc: %s stands twice", c.Issuer)
		}
		i.working = s.working
		s.list = append(s.list, i)
	}
	return s, nil
}

func (s *Issuers) find(address string) *issuer {
	if n := slices.IndexFunc(s.list, func(i *issuer) bool { return i.Issuer == address }); n >= 0 {
		return s.list[n]
	}
	return nil
}

// Trouble tells of each issuer that did not answer when it was last asked, by address. It does not ask.
func (s *Issuers) Trouble() map[string]error {
	out := map[string]error{}
	for _, i := range s.list {
		i.mu.Lock()
		if i.trouble != nil {
			out[i.Issuer] = i.trouble
		}
		i.mu.Unlock()
	}
	return out
}

// Token finds whose a bearer token is. It may ask the issuer for its keys, for at most 5 s. Its errors are
// unauthenticated; issuer_unreachable where only the issuer could say; rate_limited after 5 s in which other tokens were
// verified; and shutting_down where ctx ended first.
func (s *Issuers) Token(ctx context.Context, token string) (Subject, error) {
	if len(token) > maxToken || !strings.HasPrefix(token, tokenPrefix) {
		return Subject{}, errUnauthenticated
	}
	hash := sha256.Sum256([]byte(token))
	if v, ok := s.seen(hash); ok {
		return v.subject, nil
	}
	// Whose word it claims to be; that it is, is found out next.
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return Subject{}, errUnauthenticated
	}
	// Other tokens of an issuer, such as those for logging out, have a type of their own.
	switch typ, _ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string); strings.ToLower(typ) {
	case "", "jwt", "at+jwt", "application/at+jwt":
	default:
		return Subject{}, errUnauthenticated
	}
	var claimed struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claimed); err != nil {
		return Subject{}, errUnauthenticated
	}
	i := s.find(claimed.Issuer)
	if i == nil {
		return Subject{}, errUnauthenticated
	}
	c, expiry, err := i.verify(ctx, token, i.Audience)
	if err != nil {
		return Subject{}, err
	}
	v := verified{Subject{i.Issuer, c.Subject}, s.now().Add(tokenKept)}
	if end := expiry.Add(clockSkew); end.Before(v.until) {
		v.until = end
	}
	s.keep(hash, v)
	return v.subject, nil
}

func (s *Issuers) seen(hash [32]byte) (verified, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.young[hash]
	if !ok {
		v, ok = s.old[hash]
	}
	return v, ok && s.now().Before(v.until)
}

func (s *Issuers) keep(hash [32]byte, v verified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= tokensKept {
		s.old, s.young = s.young, map[[32]byte]verified{}
	}
	s.young[hash] = v
}
