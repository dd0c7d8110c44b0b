package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sort"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The one encoding of everything that is hashed or signed: RFC 8785 (JCS) over a narrower JSON.
// Numbers are integers of absolute value below 2^53 written without exponent (amounts and larger
// integers are strings), so no floating point ever decides anything; texts hold no control characters
// but are otherwise any valid UTF-8. See docs/spec/canonical.md.

// Limits of any JSON that reaches us from outside.
const (
	MaxDepth     = 16      // nested objects and arrays
	MaxSafeInt   = 1 << 53 // exclusive
	MaxOperation = 64 << 10
)

// Digest is a SHA-256 value.
type Digest [sha256.Size]byte

// DigestOf hashes b.
func DigestOf(b []byte) Digest { return sha256.Sum256(b) }

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes 64 lower-case hexadecimal digits.
func (d Digest) MarshalText() ([]byte, error) {
	return hex.AppendEncode(make([]byte, 0, 64), d[:]), nil
}

// UnmarshalText accepts exactly 64 lower-case hexadecimal digits.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) != 64 {
		return E(CodeBadValue).With("a digest has 64 hexadecimal digits")
	}
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return E(CodeBadValue).With("a digest has 64 lower-case hexadecimal digits")
		}
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// Canonicalize brings a JSON text into canonical form. It is the decoder that outside bytes meet first:
// duplicate keys, bad UTF-8, lone surrogates, control characters, fractions, exponents, deep nesting and
// trailing bytes are refused with their code. The caller bounds the length.
func Canonicalize(raw []byte) ([]byte, error) {
	p := parser{in: raw}
	p.space()
	out, err := p.value(make([]byte, 0, len(raw)), 0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at != len(p.in) {
		return nil, E(CodeInvalidJSON).With("bytes after the end, at %d", p.at)
	}
	return out, nil
}

// IsCanonical reports whether raw is exactly its own canonical form.
func IsCanonical(raw []byte) bool {
	c := checker{in: raw}
	return c.value(0) && c.at == len(raw)
}

type parser struct {
	in []byte
	at int
}

func (p *parser) space() {
	for p.at < len(p.in) {
		switch p.in[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) fail() error { return E(CodeInvalidJSON).With("at byte %d", p.at) }

func (p *parser) value(out []byte, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, E(CodeTooDeep)
	}
	if p.at >= len(p.in) {
		return nil, E(CodeInvalidJSON).With("ends early")
	}
	switch c := p.in[p.at]; {
	case c == '{':
		return p.object(out, depth)
	case c == '[':
		return p.array(out, depth)
	case c == '"':
		s, err := p.text()
		if err != nil {
			return nil, err
		}
		return appendText(out, s), nil
	case c == '-' || (c >= '0' && c <= '9'):
		return p.integer(out)
	default:
		for _, w := range []string{"true", "false", "null"} {
			if bytes.HasPrefix(p.in[p.at:], []byte(w)) {
				p.at += len(w)
				return append(out, w...), nil
			}
		}
		return nil, p.fail()
	}
}

func (p *parser) array(out []byte, depth int) ([]byte, error) {
	p.at++
	out = append(out, '[')
	p.space()
	if p.at < len(p.in) && p.in[p.at] == ']' {
		p.at++
		return append(out, ']'), nil
	}
	for {
		p.space()
		var err error
		if out, err = p.value(out, depth+1); err != nil {
			return nil, err
		}
		p.space()
		if p.at >= len(p.in) {
			return nil, p.fail()
		}
		c := p.in[p.at]
		p.at++
		switch c {
		case ',':
			out = append(out, ',')
		case ']':
			return append(out, ']'), nil
		default:
			return nil, p.fail()
		}
	}
}

type member struct {
	key   string
	value []byte
}

func (p *parser) object(out []byte, depth int) ([]byte, error) {
	p.at++
	p.space()
	if p.at < len(p.in) && p.in[p.at] == '}' {
		p.at++
		return append(out, '{', '}'), nil
	}
	var members []member
	for {
		p.space()
		if p.at >= len(p.in) || p.in[p.at] != '"' {
			return nil, p.fail()
		}
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		p.space()
		if p.at >= len(p.in) || p.in[p.at] != ':' {
			return nil, p.fail()
		}
		p.at++
		p.space()
		v, err := p.value(nil, depth+1)
		if err != nil {
			return nil, err
		}
		members = append(members, member{key, v})
		p.space()
		if p.at >= len(p.in) {
			return nil, p.fail()
		}
		c := p.in[p.at]
		p.at++
		if c == ',' {
			continue
		}
		if c != '}' {
			return nil, p.fail()
		}
		break
	}
	sort.Slice(members, func(i, j int) bool { return utf16Less(members[i].key, members[j].key) })
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			if members[i-1].key == m.key {
				return nil, E(CodeDuplicateKey)
			}
			out = append(out, ',')
		}
		out = append(appendText(out, m.key), ':')
		out = append(out, m.value...)
	}
	return append(out, '}'), nil
}

func (p *parser) integer(out []byte) ([]byte, error) {
	start := p.at
	for p.at < len(p.in) {
		switch c := p.in[p.at]; {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			p.at++
			continue
		}
		break
	}
	s := string(p.in[start:p.at])
	if !canonicalInteger(s) {
		if json.Valid([]byte(s)) {
			return nil, E(CodeNumberNotInteger)
		}
		return nil, p.fail()
	}
	return append(out, s...), nil
}

func canonicalInteger(s string) bool {
	digits := s
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
		if digits == "0" {
			return false
		}
	}
	if digits == "" || len(digits) > 16 || (digits[0] == '0' && len(digits) > 1) {
		return false
	}
	for i := 0; i < len(digits); i++ {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return err == nil && n < MaxSafeInt
}

// text reads a JSON string at the cursor and returns what it says.
func (p *parser) text() (string, error) {
	p.at++
	start := p.at
	for p.at < len(p.in) { // the usual text has no escape and is returned as it stands
		c := p.in[p.at]
		if c == '"' {
			s := p.in[start:p.at]
			p.at++
			return checkText(string(s))
		}
		if c < 0x20 {
			return "", E(CodeControlCharacter)
		}
		if c == '\\' {
			return p.escaped(append(make([]byte, 0, 64), p.in[start:p.at]...))
		}
		p.at++
	}
	return "", p.fail()
}

func (p *parser) escaped(out []byte) (string, error) {
	for p.at < len(p.in) {
		c := p.in[p.at]
		switch {
		case c == '"':
			p.at++
			return checkText(string(out))
		case c < 0x20:
			return "", E(CodeControlCharacter)
		case c != '\\':
			out = append(out, c)
			p.at++
		default:
			if p.at+1 >= len(p.in) {
				return "", p.fail()
			}
			e := p.in[p.at+1]
			p.at += 2
			switch e {
			case '"', '\\', '/':
				out = append(out, e)
			case 'b', 'f', 'n', 'r', 't':
				return "", E(CodeControlCharacter)
			case 'u':
				r, ok := p.hex4()
				if !ok {
					return "", p.fail()
				}
				if utf16.IsSurrogate(r) {
					if p.at+1 >= len(p.in) || p.in[p.at] != '\\' || p.in[p.at+1] != 'u' {
						return "", E(CodeBadUTF8)
					}
					p.at += 2
					low, ok := p.hex4()
					if !ok {
						return "", p.fail()
					}
					if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
						return "", E(CodeBadUTF8)
					}
				}
				out = utf8.AppendRune(out, r)
			default:
				return "", p.fail()
			}
		}
	}
	return "", p.fail()
}

func (p *parser) hex4() (rune, bool) {
	if p.at+4 > len(p.in) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.in[p.at:p.at+4]), 16, 16)
	if err != nil {
		return 0, false
	}
	p.at += 4
	return rune(n), true
}

func checkText(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", E(CodeBadUTF8)
	}
	if hasControl(s) {
		return "", E(CodeControlCharacter)
	}
	return s, nil
}

// hasControl finds C0, DEL and C1 controls, the byte order mark, and the invisible direction marks that
// make a name read as another, in valid UTF-8. Beyond ASCII their first bytes are few, so nothing is decoded.
func hasControl[T string | []byte](s T) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < 0x20 || c == 0x7f:
			return true
		case c == 0xc2: // U+0080–009F
			if s[i+1] < 0xa0 {
				return true
			}
		case c == 0xe2: // U+200E–200F, U+2028–202E, U+2066–2069
			switch d, e := s[i+1], s[i+2]; {
			case d == 0x80 && (e == 0x8e || e == 0x8f || e >= 0xa8 && e <= 0xae), d == 0x81 && e >= 0xa6 && e <= 0xa9:
				return true
			}
		case c == 0xef: // U+FEFF
			if s[i+1] == 0xbb && s[i+2] == 0xbf {
				return true
			}
		}
	}
	return false
}

// appendText writes a JSON string as RFC 8785 does; s holds no control characters.
func appendText(out []byte, s string) []byte {
	out = append(out, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' {
			out = append(append(out, s[from:i]...), '\\', c)
			from = i + 1
		}
	}
	return append(append(out, s[from:]...), '"')
}

// utf16Less orders keys by UTF-16 code units as RFC 8785 section 3.2.3 asks; it differs from byte order
// only beyond the basic plane.
func utf16Less(a, b string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] >= 0xee || b[i] >= 0xee {
			x, y := utf16.Encode([]rune(a)), utf16.Encode([]rune(b))
			for k := 0; k < len(x) && k < len(y); k++ {
				if x[k] != y[k] {
					return x[k] < y[k]
				}
			}
			return len(x) < len(y)
		}
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return len(a) < len(b)
}

// checker walks canonical JSON without building anything: it runs on every operation of every block.
type checker struct {
	in []byte
	at int
}

func (c *checker) value(depth int) bool {
	if depth > MaxDepth || c.at >= len(c.in) {
		return false
	}
	switch b := c.in[c.at]; {
	case b == '{':
		return c.object(depth)
	case b == '[':
		c.at++
		if c.take(']') {
			return true
		}
		for {
			if !c.value(depth + 1) {
				return false
			}
			if c.take(']') {
				return true
			}
			if !c.take(',') {
				return false
			}
		}
	case b == '"':
		_, ok := c.text()
		return ok
	case b == '-' || (b >= '0' && b <= '9'):
		start := c.at
		for c.at < len(c.in) && (c.in[c.at] == '-' || (c.in[c.at] >= '0' && c.in[c.at] <= '9')) {
			c.at++
		}
		return canonicalInteger(string(c.in[start:c.at]))
	default:
		for _, w := range [...]string{"true", "false", "null"} {
			if len(c.in)-c.at >= len(w) && string(c.in[c.at:c.at+len(w)]) == w {
				c.at += len(w)
				return true
			}
		}
		return false
	}
}

func (c *checker) take(b byte) bool {
	if c.at < len(c.in) && c.in[c.at] == b {
		c.at++
		return true
	}
	return false
}

func (c *checker) object(depth int) bool {
	c.at++
	if c.take('}') {
		return true
	}
	var last []byte
	for first := true; ; first = false {
		if c.at >= len(c.in) || c.in[c.at] != '"' {
			return false
		}
		key, ok := c.text()
		if !ok || !c.take(':') {
			return false
		}
		if !first {
			// Keys with escapes are compared as written: '"' and '\' sort alike escaped or not only
			// among themselves, so such keys take the exact path.
			if bytes.IndexByte(key, '\\') >= 0 || bytes.IndexByte(last, '\\') >= 0 {
				if !utf16Less(unescapeKey(last), unescapeKey(key)) {
					return false
				}
			} else if !utf16Less(string(last), string(key)) {
				return false
			}
		}
		last = key
		if !c.value(depth + 1) {
			return false
		}
		if c.take('}') {
			return true
		}
		if !c.take(',') {
			return false
		}
	}
}

func unescapeKey(k []byte) string {
	out := make([]byte, 0, len(k))
	for i := 0; i < len(k); i++ {
		if k[i] == '\\' {
			i++
		}
		out = append(out, k[i])
	}
	return string(out)
}

// plainByte marks what stands in a text as it is and needs no second look.
var plainByte = func() (p [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		p[c] = c != '"' && c != '\\'
	}
	return
}()

func (c *checker) text() ([]byte, bool) {
	in, start := c.in, c.at+1
	plain := true
	for i := start; i < len(in); i++ {
		b := in[i]
		switch {
		case plainByte[b]:
		case b > 0xe3 && b < 0xea && i+2 < len(in) && in[i+1]&0xc0 == 0x80 && in[i+2]&0xc0 == 0x80: // U+4000–9FFF
			i += 2
		case b >= utf8.RuneSelf:
			plain = false
		case b == '"':
			s := in[start:i]
			c.at = i + 1
			return s, plain || utf8.Valid(s) && !hasControl(s)
		case b == '\\' && i+1 < len(in) && (in[i+1] == '"' || in[i+1] == '\\'):
			i++
		default:
			return nil, false
		}
	}
	return nil, false
}
