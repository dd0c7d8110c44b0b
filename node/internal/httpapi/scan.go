package httpapi

import (
	"bytes"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// The bodies of the hot routes are arrays of small objects with a few known members. They are taken apart
// here in one pass; each part then meets a decoder of package model that says whether it is right. Whatever
// the quick way does not understand goes the strict way, which knows every rule and names every fault.

// errSlow sends an element the strict way.
var errSlow = model.E(model.CodeInvalidJSON)

// elementError is a fault of one element of an array.
type elementError struct {
	index int
	err   error
}

func (e *elementError) Error() string { return "[" + strconv.Itoa(e.index) + "] " + e.err.Error() }
func (e *elementError) Unwrap() error { return e.err }

// decodeList takes apart a body that is one object or an array of at most most, each decoded by quick or,
// where that does not understand it, by model.DecodeStrict.
func decodeList[T any](body []byte, most int, quick func(element []byte, v *T) error) (list []T, single bool, err error) {
	s := cursor{in: body}
	s.space()
	switch s.peek() {
	case '{':
		list, single = make([]T, 1), true
		err = decodeElement(body, &list[0], quick)
		return list, single, err
	case '[':
	default:
		_, err := model.Canonicalize(body)
		if err == nil {
			err = model.E(model.CodeWrongType)
		}
		return nil, false, err
	}
	s.at++
	for {
		s.space()
		if len(list) == 0 && s.take(']') {
			break
		}
		start := s.at
		if s.peek() != '{' || !s.skip() {
			return nil, false, notList(body, len(list))
		}
		if len(list) == most {
			return nil, false, model.E(model.CodeTooMany).With("at most %d in one request", most)
		}
		list = append(list, *new(T))
		if err := decodeElement(body[start:s.at], &list[len(list)-1], quick); err != nil {
			return nil, false, &elementError{len(list) - 1, err}
		}
		s.space()
		if s.take(']') {
			break
		}
		if !s.take(',') {
			return nil, false, notList(body, len(list))
		}
	}
	s.space()
	if s.at != len(body) {
		return nil, false, notList(body, len(list))
	}
	if len(list) == 0 {
		return nil, false, model.E(model.CodeMissingField).With("the array is empty")
	}
	return list, false, nil
}

// notList says what is wrong with a body that could not be taken apart at the given element.
func notList(body []byte, element int) error {
	if _, err := model.Canonicalize(body); err != nil {
		return err
	}
	return &elementError{element, model.E(model.CodeWrongType)}
}

func decodeElement[T any](raw []byte, v *T, quick func([]byte, *T) error) error {
	err := quick(raw, v)
	if err == error(errSlow) {
		*v = *new(T)
		_, err = model.DecodeStrict(raw, v)
	}
	return err
}

// quickResult ends a quick decoder. A member's fault is the one to report only if the element as a whole is
// JSON; where both are the same fault, the member's says where it is.
func quickResult(raw []byte, ok bool, err error) error {
	if err != nil && err != error(errSlow) {
		if _, whole := model.Canonicalize(raw); whole != nil && model.AsError(whole).Code != model.AsError(err).Code {
			return whole
		}
		return err
	}
	if !ok {
		return errSlow
	}
	return nil
}

// cursor walks JSON text. It checks only what it needs to find where a value ends.
type cursor struct {
	in []byte
	at int
}

func (c *cursor) peek() byte {
	if c.at < len(c.in) {
		return c.in[c.at]
	}
	return 0
}

func (c *cursor) take(b byte) bool {
	if c.peek() != b {
		return false
	}
	c.at++
	return true
}

func (c *cursor) space() {
	for c.at < len(c.in) {
		switch c.in[c.at] {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return
		}
	}
}

// skip passes over one value.
func (c *cursor) skip() bool {
	depth := 0
	for c.at < len(c.in) {
		switch c.in[c.at] {
		case '"':
			if !c.skipText() {
				return false
			}
			if depth == 0 {
				return true
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return true
			}
			if depth--; depth == 0 {
				c.at++
				return true
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return true
			}
		}
		c.at++
	}
	return depth == 0
}

// skipText passes over a string. Most have no escape, and their end is the next quote.
func (c *cursor) skipText() bool {
	for c.at++; ; {
		n := bytes.IndexByte(c.in[c.at:], '"')
		if n < 0 {
			return false
		}
		escape := bytes.IndexByte(c.in[c.at:c.at+n], '\\')
		if escape < 0 {
			c.at += n + 1
			return true
		}
		if c.at += escape + 2; c.at > len(c.in) {
			return false
		}
	}
}

// members calls f with each member of an object. It reports false where the text is not the plain object
// that it understands.
func members(raw []byte, f func(key string, value []byte) bool) bool {
	c := cursor{in: raw}
	c.space()
	if !c.take('{') {
		return false
	}
	c.space()
	for first := true; ; first = false {
		if first && c.take('}') {
			break
		}
		start := c.at
		if c.peek() != '"' || !c.skip() {
			return false
		}
		key := c.in[start+1 : c.at-1]
		c.space()
		if !c.take(':') {
			return false
		}
		c.space()
		start = c.at
		if !c.skip() || c.at == start || !f(string(key), c.in[start:c.at]) {
			return false
		}
		c.space()
		if c.take('}') {
			break
		}
		if !c.take(',') {
			return false
		}
		c.space()
	}
	c.space()
	return c.at == len(c.in)
}

// plainText reads a JSON string that has no escapes.
func plainText(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	s := raw[1 : len(raw)-1]
	for _, c := range s {
		if c == '\\' || c < 0x20 || c == 0x7f {
			return "", false
		}
		if c >= 0x80 {
			return string(s), model.IsCanonical(raw) && noEscape(s)
		}
	}
	return string(s), true
}

func noEscape(s []byte) bool {
	for _, c := range s {
		if c == '\\' {
			return false
		}
	}
	return true
}

// quickText reads a text member through its type's parser; "" is the zero value.
func quickText[T ~string](dst *T, raw []byte, field string, parse func(string) (T, error)) error {
	s, ok := plainText(raw)
	if !ok {
		return errSlow
	}
	if s == "" {
		*dst = ""
		return nil
	}
	v, err := parse(s)
	if err != nil {
		e := *model.AsError(err)
		e.Field = field
		return &e
	}
	*dst = v
	return nil
}
