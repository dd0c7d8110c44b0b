package backup

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	magic      = "zhenglian backup 1\n"
	chunk      = 64 << 10 // bytes of plain text in a sealed chunk
	maxHeader  = 4096
	iterations = 600_000 // of PBKDF2-HMAC-SHA-256
	minPhrase  = 12      // characters

	recipientPrefix = "zlb_"
	secretPrefix    = "zlbs_"
)

// Errors of opening, for errors.Is.
var (
	ErrFormat  = errors.New("backup: this is not a backup, or one of a newer version")
	ErrKey     = errors.New("backup: the passphrase or key is not the one that the backup was made for")
	ErrChanged = errors.New("backup: the file was changed or is not whole")
)

// Key seals or opens a backup: a passphrase, or one half of a pair of keys. A recipient seals and cannot open, so a
// machine that makes backups by itself need not hold what opens them.
type Key struct {
	phrase    string
	recipient hpke.PublicKey
	secret    hpke.PrivateKey
}

// Passphrase is a key of at least 12 characters.
func Passphrase(s string) (Key, error) {
	if len([]rune(s)) < minPhrase {
		return Key{}, fmt.Errorf("the passphrase has fewer than %d characters", minPhrase)
	}
	return Key{phrase: s}, nil
}

var kem = hpke.DHKEM(ecdh.X25519())

// NewPair draws a pair of keys, as text: recipient is no secret.
func NewPair() (recipient, secret string, err error) {
	k, err := kem.GenerateKey()
	if err != nil {
		return "", "", err
	}
	raw, err := k.Bytes()
	if err != nil {
		return "", "", err
	}
	return recipientPrefix + base64.RawURLEncoding.EncodeToString(k.PublicKey().Bytes()), secretPrefix + base64.RawURLEncoding.EncodeToString(raw), nil
}

// ParseKey reads a half of a pair.
func ParseKey(s string) (Key, error) {
	s = strings.TrimSpace(s)
	bad := errors.New("neither a recipient (zlb_…) nor a secret (zlbs_…)")
	if t, ok := strings.CutPrefix(s, recipientPrefix); ok {
		raw, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return Key{}, bad
		}
		k, err := kem.NewPublicKey(raw)
		return Key{recipient: k}, err
	}
	t, ok := strings.CutPrefix(s, secretPrefix)
	raw, err := base64.RawURLEncoding.DecodeString(t)
	if !ok || err != nil {
		return Key{}, bad
	}
	k, err := kem.NewPrivateKey(raw)
	return Key{secret: k}, err
}

// header says how the content key is wrapped. All of its bytes are authenticated with every chunk.
type header struct {
	Kind       string `json:"kind"` // passphrase or x25519
	Salt       []byte `json:"salt,omitempty"`
	Iterations int    `json:"iterations,omitempty"`
	Wrapped    []byte `json:"wrapped"`
}

func (k Key) wrap(content []byte) (h header, err error) {
	switch {
	case k.recipient != nil:
		h.Kind = "x25519"
		h.Wrapped, err = hpke.Seal(k.recipient, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(magic), content)
		return h, err
	case k.phrase != "":
		h.Kind, h.Salt, h.Iterations = "passphrase", make([]byte, 16), iterations
		_, _ = rand.Read(h.Salt) // never fails since Go 1.24
		a, err := phraseAEAD(k.phrase, h.Salt, h.Iterations)
		if err != nil {
			return h, err
		}
		h.Wrapped = a.Seal(nil, make([]byte, 12), content, nil) // one use of a key of its own: the salt is fresh
		return h, nil
	}
	return h, errors.New("this key opens backups, and cannot seal them: give the recipient (zlb_…)")
}

func (k Key) unwrap(h header) ([]byte, error) {
	switch {
	case h.Kind == "x25519" && k.secret != nil:
		content, err := hpke.Open(k.secret, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(magic), h.Wrapped)
		if err != nil {
			return nil, ErrKey
		}
		return content, nil
	case h.Kind == "passphrase" && k.phrase != "":
		if h.Iterations < 1000 || h.Iterations > 10_000_000 || len(h.Salt) != 16 {
			return nil, ErrFormat
		}
		a, err := phraseAEAD(k.phrase, h.Salt, h.Iterations)
		if err != nil {
			return nil, err
		}
		content, err := a.Open(nil, make([]byte, 12), h.Wrapped, nil)
		if err != nil {
			return nil, ErrKey
		}
		return content, nil
	case h.Kind == "x25519" || h.Kind == "passphrase":
		return nil, fmt.Errorf("%w (it was made for a %s)", ErrKey, map[string]string{"x25519": "recipient: give its secret", "passphrase": "passphrase"}[h.Kind])
	}
	return nil, ErrFormat
}

func phraseAEAD(phrase string, salt []byte, n int) (cipher.AEAD, error) {
	kek, err := pbkdf2.Key(sha256.New, phrase, salt, n, 32)
	if err != nil {
		return nil, err
	}
	return newAEAD(kek)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// nonce is the chunk's index and whether it is the last: neither order nor end can be changed unseen.
func nonce(index uint64, last bool) []byte {
	n := make([]byte, 12)
	binary.BigEndian.PutUint64(n[3:], index)
	if last {
		n[11] = 1
	}
	return n
}

// sealer encrypts what is written to it. Close writes the last chunk; without it the file is not whole.
type sealer struct {
	w     io.Writer
	aead  cipher.AEAD
	bound []byte // digest of the header
	index uint64
	buf   []byte
	out   []byte
}

// Seal begins a backup on w.
func Seal(w io.Writer, k Key) (io.WriteCloser, error) {
	content := make([]byte, 32)
	_, _ = rand.Read(content)
	h, err := k.wrap(content)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	head := append(append([]byte(magic), raw...), '\n')
	if _, err := w.Write(head); err != nil {
		return nil, err
	}
	a, err := newAEAD(content)
	if err != nil {
		return nil, err
	}
	bound := sha256.Sum256(head)
	return &sealer{w: w, aead: a, bound: bound[:], buf: make([]byte, 0, chunk)}, nil
}

func (s *sealer) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if len(s.buf) == chunk { // only now is it known that it is not the last
			if err := s.flush(false); err != nil {
				return n, err
			}
		}
		m := min(len(b), chunk-len(s.buf))
		s.buf = append(s.buf, b[:m]...)
		b, n = b[m:], n+m
	}
	return n, nil
}

func (s *sealer) flush(last bool) error {
	s.out = s.aead.Seal(s.out[:0], nonce(s.index, last), s.buf, s.bound)
	s.index++
	s.buf = s.buf[:0]
	_, err := s.w.Write(s.out)
	return err
}

func (s *sealer) Close() error { return s.flush(true) }

type opener struct {
	r     *bufio.Reader
	aead  cipher.AEAD
	bound []byte
	index uint64
	plain []byte
	in    []byte
	done  bool
}

// Open reads a sealed backup. What it gives was authenticated chunk by chunk; io.EOF comes only at the true end,
// ErrChanged anywhere else.
func Open(r io.Reader, k Key) (io.Reader, error) {
	b := bufio.NewReaderSize(r, chunk+16+1)
	if m, err := b.Peek(len(magic)); err != nil || string(m) != magic {
		return nil, ErrFormat
	}
	head := make([]byte, 0, 512)
	for len(head) < maxHeader && (len(head) <= len(magic) || head[len(head)-1] != '\n') {
		c, err := b.ReadByte()
		if err != nil {
			return nil, ErrFormat
		}
		head = append(head, c)
	}
	var h header
	d := json.NewDecoder(bytes.NewReader(head[len(magic):]))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return nil, ErrFormat
	}
	content, err := k.unwrap(h)
	if err != nil {
		return nil, err
	}
	if len(content) != 32 {
		return nil, ErrFormat
	}
	a, err := newAEAD(content)
	if err != nil {
		return nil, err
	}
	bound := sha256.Sum256(head)
	return &opener{r: b, aead: a, bound: bound[:], in: make([]byte, chunk+16)}, nil
}

func (o *opener) Read(b []byte) (int, error) {
	for len(o.plain) == 0 {
		if o.done {
			return 0, io.EOF
		}
		n, err := io.ReadFull(o.r, o.in)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if _, err := o.r.Peek(1); errors.Is(err, io.EOF) {
			o.done = true
		}
		plain, err := o.aead.Open(o.in[:0:0], nonce(o.index, o.done), o.in[:n], o.bound)
		if err != nil {
			return 0, ErrChanged
		}
		o.index++
		o.plain = plain
	}
	n := copy(b, o.plain)
	o.plain = o.plain[n:]
	return n, nil
}
