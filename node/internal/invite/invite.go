// Package invite is how another node of an organisation enters a ledger: an invitation, one text that the organisation's
// running node makes, names the ledger, who may come, where, and for how long, and holds a token that counts once.
//
// The text holds no key. Whoever steals it before it is used can have a certificate of that one node id made for a key of
// his own, and nothing else; so it is given like a password, expires, and both sides see its fingerprint.
package invite

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const (
	prefix  = "zli1_"
	maxText = 64 << 10
)

// Gateway is where the ledger is dialled.
type Gateway struct {
	Address    string `json:"address"`
	Roots      string `json:"roots"` // PEM
	ServerName string `json:"server_name,omitempty"`
}

// Invitation is what the text says.
type Invitation struct {
	ID            string           `json:"id"`
	Token         string           `json:"token"`
	Expires       time.Time        `json:"expires"`
	URL           string           `json:"url"`           // API of the inviting node
	Pin           string           `json:"pin,omitempty"` // SHA-256 of the public key of its TLS certificate, hexadecimal; "" only on loopback
	Node          model.NodeID     `json:"node"`          // who is invited
	Msp           model.MSPID      `json:"msp"`
	Agencies      []model.AgencyID `json:"agencies"` // which it is to act for
	Channel       string           `json:"channel"`
	Chaincode     string           `json:"chaincode"`
	GenesisDigest string           `json:"genesis_digest"`
	GenesisBlock  string           `json:"genesis_block"`
	ImportFrom    string           `json:"import_from,omitempty"`
	Gateways      []Gateway        `json:"gateways"`
}

// Text is the invitation in one line.
func (i *Invitation) Text() (string, error) {
	raw, err := json.Marshal(i)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(raw); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	sum := sha256.Sum256(b.Bytes())
	return prefix + base64.RawURLEncoding.EncodeToString(append(sum[:8], b.Bytes()...)), nil
}

// ErrText is a text that is no whole invitation.
var ErrText = errors.New("this is no invitation, or a part of it is missing: copy it again, whole")

// Parse reads a text; spaces and line ends in it do not count.
func Parse(text string) (*Invitation, error) {
	text = strings.Join(strings.Fields(text), "")
	t, ok := strings.CutPrefix(text, prefix)
	if !ok || len(text) > maxText {
		return nil, ErrText
	}
	raw, err := base64.RawURLEncoding.DecodeString(t)
	if err != nil || len(raw) < 9 {
		return nil, ErrText
	}
	if sum := sha256.Sum256(raw[8:]); !bytes.Equal(sum[:8], raw[:8]) {
		return nil, ErrText
	}
	raw, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(raw[8:])), 4*maxText))
	if err != nil {
		return nil, ErrText
	}
	var i Invitation
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&i); err != nil {
		return nil, fmt.Errorf("%w (it may be of a newer version)", ErrText)
	}
	if !name.MatchString(i.ID) || i.Token == "" || i.Node == "" || i.Msp == "" || len(i.Gateways) == 0 {
		return nil, ErrText
	}
	return &i, nil
}

// Fingerprint is what two people compare by telephone: it changes with every part of the invitation.
func (i *Invitation) Fingerprint() string {
	raw, _ := json.Marshal(i) // plain values always encode
	sum := sha256.Sum256(append([]byte("zhenglian invitation\n"), raw...))
	s := base32.StdEncoding.EncodeToString(sum[:15])
	var groups []string
	for ; s != ""; s = s[4:] {
		groups = append(groups, s[:4])
	}
	return strings.Join(groups, "-")
}

// Record is what the inviting node keeps of an invitation: not the token itself.
type Record struct {
	ID          string           `json:"id"`
	Hash        model.Digest     `json:"hash"` // SHA-256 of the token
	Expires     time.Time        `json:"expires"`
	Node        model.NodeID     `json:"node"`
	Msp         model.MSPID      `json:"msp"`
	Agencies    []model.AgencyID `json:"agencies"`
	Request     string           `json:"request,omitempty"`     // PEM of the certificate request that used it
	Certificate string           `json:"certificate,omitempty"` // PEM, once issued
}

// Store keeps the records in a folder, a file each. Safe for concurrent use within a process; the commands of another
// process only add records and certificates.
type Store struct {
	Dir string
	mu  sync.Mutex
}

var name = regexp.MustCompile(`^[a-z2-7]{16}$`)

// New makes a record and returns id and token of it.
func (s *Store) New(r Record) (id, token string, err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return "", "", err
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	token = base64.RawURLEncoding.EncodeToString(raw[:])
	r.ID, r.Hash = strings.ToLower(rand.Text()[:16]), sha256.Sum256([]byte(token))
	return r.ID, token, s.Put(&r)
}

// Put replaces a record's file, whole or not at all.
func (s *Store) Put(r *Record) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Dir, "*.new")
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path(r.ID))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func (s *Store) path(id string) string { return filepath.Join(s.Dir, id+".json") }

// Get reads a record.
func (s *Store) Get(id string) (*Record, error) {
	if !name.MatchString(id) {
		return nil, os.ErrNotExist
	}
	raw, err := os.ReadFile(s.path(id))
	if err != nil {
		return nil, err
	}
	var r Record
	return &r, json.Unmarshal(raw, &r)
}

// List reads all records.
func (s *Store) List() (out []Record, err error) {
	files, err := filepath.Glob(filepath.Join(s.Dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		r, err := s.Get(strings.TrimSuffix(filepath.Base(f), ".json"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		out = append(out, *r)
	}
	return out, nil
}

// What came of a claim. Expired and Used are said only to whoever has the token.
const (
	Unknown = "unknown" // no such invitation, or another token
	Expired = "expired"
	Used    = "used" // by another request
	Claimed = "claimed"
)

// Claim binds an invitation to the first certificate request that comes with its token, durably. The same request may
// come again, also after the end: who was cut off asks once more.
//
// allowed is asked before an invitation is bound, once the token is known to be good: with its error nothing is bound, and
// the token stays good.
func (s *Store) Claim(id, token, request string, now time.Time, allowed func(*Record) error) (*Record, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := sha256.Sum256([]byte(token))
	r, err := s.Get(id)
	if errors.Is(err, os.ErrNotExist) {
		r, err = &Record{}, nil // compared all the same
	}
	if err != nil {
		return nil, Unknown, err
	}
	switch {
	case subtle.ConstantTimeCompare(got[:], r.Hash[:]) != 1 || r.ID == "":
		return nil, Unknown, nil
	case r.Request == request:
		return r, Claimed, nil
	case r.Request != "":
		return nil, Used, nil
	case now.After(r.Expires):
		return nil, Expired, nil
	}
	if err := allowed(r); err != nil {
		return nil, Unknown, err
	}
	r.Request = request
	return r, Claimed, s.Put(r)
}
