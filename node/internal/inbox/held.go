package inbox

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Person is who drafts or decides. Name stays at this node.
type Person struct {
	Principal string          `json:"principal"` // a user's id, or of a key that belongs to no user the key's
	Pseudonym model.Pseudonym `json:"person"`
	Name      string          `json:"name,omitempty"`
	Agency    model.AgencyID  `json:"agency"`
	// Source is the way by which a back office pushed, whose the idempotency key is then and no principal's.
	Source string `json:"source,omitempty"`
}

// same reports whether two are one person. Either sameness is enough.
func (p *Person) same(q *Person) bool {
	return p.Principal == q.Principal || p.Pseudonym == q.Pseudonym
}

// opID is the id of the n-th operation of a request under a key; -1 stands for the request.
func (p *Person) opID(key string, n int) model.OpID {
	if p.Source != "" {
		return model.DeriveOpID("", p.Source, key, n)
	}
	return model.DeriveOpID(p.Agency, p.Principal, key, n)
}

// Decision is who decided, and what.
type Decision struct {
	By     Person     `json:"by"` // empty for an expiry
	At     model.Time `json:"at"`
	Reason string     `json:"reason,omitempty"`
}

// Held is a request that waits for a second person, or waited, without its content.
type Held struct {
	ID         string             `json:"id"`
	State      State              `json:"state"`
	Rules      []Rule             `json:"rules"`
	Drafter    Person             `json:"drafter"`
	Writers    []string           `json:"writers,omitempty"` // principals who can write to the source that it came by
	Operations int                `json:"operations"`
	Agencies   []model.AgencyID   `json:"agencies"` // that the operations act for
	Types      map[model.Type]int `json:"types"`
	Content    model.Digest       `json:"content"` // what an approver names
	Created    model.Time         `json:"created"`
	Expires    model.Time         `json:"expires"`
	Decision   *Decision          `json:"decision,omitempty"`
	Sent       bool               `json:"sent,omitempty"`     // intake has accepted the operations
	Problem    *model.Problem     `json:"problem,omitempty"`  // or refused them for good
	Erased     bool               `json:"erased,omitempty"`   // of the content only the digest is left
	Batch      *Terms             `json:"batch,omitempty"`    // what is asked for is a batch, not operations
	Bytes      int                `json:"bytes"`              // of the content
	Restored   bool               `json:"restored,omitempty"` // the restore of a backup has ended it, or what it grants

	Key     string       `json:"key"`           // under which intake hears the request
	Given   bool         `json:"given"`         // the key came with it
	Request model.Digest `json:"request"`       // the same key with another digest is a mistake
	Same    model.Digest `json:"same,omitzero"` // while it is pending: as of Request
}

// draftedBy reports whether somebody is who drafted it, or may be.
func (h *Held) draftedBy(p *Person) bool {
	return p.same(&h.Drafter) || slices.Contains(h.Writers, p.Principal)
}

// IDs are the operations', known before they are accepted.
func (h *Held) IDs() []model.OpID {
	ids := make([]model.OpID, h.Operations)
	for i := range ids {
		ids[i] = h.Drafter.opID(h.Key, i)
	}
	return ids
}

// number is the draft's place in the order of all.
func (h *Held) number() uint64 {
	n, _ := parseID(h.ID)
	return n
}

// content is what a draft asks for. It is erased some time after the decision.
type content struct {
	Nonce  []byte   `json:"nonce"` // makes the digest say nothing of what it is a digest of
	Drafts []stored `json:"drafts"`

	Batch   *Terms           `json:"batch,omitempty"`   // instead of drafts, and
	Records []model.RecordID `json:"records,omitempty"` // what a batch of endings names
}

// stored is a model.Draft. Bodies stand as they came: canonical.
type stored struct {
	Agency       model.AgencyID  `json:"agency"`
	Type         model.Type      `json:"type"`
	Kind         model.Kind      `json:"kind,omitempty"`
	Record       model.RecordID  `json:"record,omitempty"`
	Version      uint64          `json:"version,omitempty"` // as approved
	Free         bool            `json:"free,omitempty"`    // the caller had left the version to the node
	Body         json.RawMessage `json:"body,omitempty"`
	Confidential json.RawMessage `json:"confidential,omitempty"`
}

// encodeContent writes drafts whose versions are to be those given, 0 for none.
func encodeContent(drafts []model.Draft, versions []uint64, batch *Terms) ([]byte, error) {
	c := content{Nonce: make([]byte, 32), Drafts: make([]stored, len(drafts)), Batch: batch}
	if batch != nil {
		c.Records = batch.Records
	}
	_, _ = rand.Read(c.Nonce) // never fails since Go 1.24
	for i := range drafts {
		d := &drafts[i]
		s := stored{Agency: d.Agency, Type: d.Type, Kind: d.Kind, Record: d.Record, Version: d.Version, Body: d.Body}
		if s.Version == 0 && i < len(versions) {
			s.Version, s.Free = versions[i], true
		}
		if d.Confidential != nil {
			raw, err := encode(d.Confidential)
			if err != nil {
				return nil, err
			}
			s.Confidential = raw
		}
		c.Drafts[i] = s
	}
	return encode(&c)
}

// decodeContent reads drafts, with the versions that are approved, or anew as the caller gave them.
func decodeContent(raw []byte, anew bool) ([]model.Draft, error) {
	var c content
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, damaged(err)
	}
	if c.Batch != nil {
		c.Batch.Records = c.Records
		return c.Batch.drafts(), nil
	}
	out := make([]model.Draft, len(c.Drafts))
	for i := range c.Drafts {
		s := &c.Drafts[i]
		d := model.Draft{Agency: s.Agency, Type: s.Type, Kind: s.Kind, Record: s.Record, Version: s.Version, Body: s.Body}
		if s.Free && anew {
			d.Version = 0
		}
		if len(s.Confidential) > 0 {
			d.Confidential = new(model.LicenceConfidential)
			if _, err := model.DecodeStrict(s.Confidential, d.Confidential); err != nil {
				return nil, damaged(err)
			}
		}
		out[i] = d
	}
	return out, nil
}

func digestOf(content []byte) model.Digest {
	h := sha256.New()
	h.Write([]byte("zhenglian:draft:v1\n"))
	h.Write(content)
	return model.Digest(h.Sum(nil))
}

// encode is JSON whose raw parts stay as they are: their digests and signatures hang on every byte.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// newID is a number's id. What is random in it keeps a folder that was restored from a backup from giving it twice.
func newID(number uint64) string {
	return strconv.FormatUint(number, 10) + "-" + strings.ToLower(rand.Text()[:8])
}

// parseID is an id's number.
func parseID(id string) (uint64, bool) {
	digits, random, ok := strings.Cut(id, "-")
	if !ok || len(random) != 8 || len(digits) > 18 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	return n, err == nil && n > 0 && digits[0] != '0'
}
