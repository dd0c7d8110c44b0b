package model

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
)

// DecodeStrict decodes a JSON text into v, a pointer: unknown fields, fields in another case, duplicate
// keys and all that Canonicalize refuses are refused. Absent fields and null leave v as it is. It returns
// the canonical form as well.
func DecodeStrict(raw []byte, v any) ([]byte, error) {
	c, err := Canonicalize(raw)
	if err != nil {
		return nil, err
	}
	return c, DecodeCanonical(c, v)
}

// DecodeCanonical decodes JSON that is canonical already, such as a part cut out of what DecodeStrict
// returned, as DecodeStrict does. Raw messages in v share c's memory.
func DecodeCanonical(c []byte, v any) error {
	return decodeWith(decoder{checker: checker{in: c}}, v)
}

// decodeLedger decodes what stands, or is to stand, on the ledger: null stands nowhere, and whole values
// are whole (see wholeValue).
func decodeLedger(c []byte, v any) error {
	return decodeWith(decoder{checker: checker{in: c}, ledger: true}, v)
}

func decodeWith(d decoder, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return E(CodeInternal).With("decoding into %T", v)
	}
	if err := d.value(p.Elem(), shapeOf(p.Type().Elem()).get(), false); err != nil {
		return err
	}
	if d.at != len(d.in) {
		return E(CodeInvalidJSON).With("bytes after the end, at %d", d.at)
	}
	return nil
}

// decoder reads canonical JSON. Its input was checked by IsCanonical or made by Canonicalize, so it looks
// only for what that does not: that the value fits the type. On other input it may return any error, and
// never reads beyond the end.
type decoder struct {
	checker
	ledger bool
}

func (d *decoder) malformed() error { return E(CodeInvalidJSON).With("at byte %d", d.at) }

// next cuts out the value at the cursor.
func (d *decoder) next() ([]byte, error) {
	start := d.at
	if !d.skip() || d.at == start {
		return nil, d.malformed()
	}
	return d.in[start:d.at:d.at], nil
}

// value decodes into v. whole asks for every field of a struct that is not marked omitempty.
func (d *decoder) value(v reflect.Value, s *shape, whole bool) error {
	if d.at >= len(d.in) {
		return d.malformed()
	}
	c := d.in[d.at]
	if c == 'n' && s.class != rawJSON {
		if d.ledger {
			return E(CodeWrongType)
		}
		_, err := d.next()
		switch s.class {
		case mapping, list, pointer, anything:
			v.SetZero()
		}
		return err
	}
	switch s.class {
	case plain, parsed, texted:
		t, err := d.string(c)
		if err != nil {
			return err
		}
		if s.class == plain {
			v.SetString(string(t))
			return nil
		}
		return textError(v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(t))
	case boolean:
		if c != 't' && c != 'f' {
			return E(CodeWrongType)
		}
		v.SetBool(c == 't')
		_, err := d.next()
		return err
	case signed, unsigned:
		return d.number(v, s.class)
	case rawJSON:
		raw, err := d.next()
		if err == nil && d.ledger && c == 'n' {
			err = E(CodeWrongType)
		}
		v.SetBytes(raw)
		return err
	case object:
		return d.object(v, s, d.ledger && (whole || s.whole))
	case mapping:
		return d.mapping(v, s, whole)
	case list:
		return d.list(v, s, whole)
	case pointer:
		if v.IsNil() {
			v.Set(reflect.New(s.elem.typ))
		}
		return d.value(v.Elem(), s.elem.get(), whole)
	case anything:
		x, err := d.any()
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(x))
		return nil
	}
	raw, err := d.next()
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v.Addr().Interface()); err != nil {
		return jsonError(err)
	}
	return nil
}

// textError is an UnmarshalText error; its field gives way to the path.
func textError(err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return E(CodeBadValue)
	}
	c := *e
	c.Field = ""
	return &c
}

// string takes a string and returns what it says.
func (d *decoder) string(c byte) ([]byte, error) {
	if c != '"' {
		return nil, E(CodeWrongType)
	}
	t, ok := d.text()
	if !ok {
		return nil, d.malformed()
	}
	if bytes.IndexByte(t, '\\') >= 0 {
		return []byte(unescapeKey(t)), nil
	}
	return t, nil
}

func (d *decoder) number(v reflect.Value, c class) error {
	raw, err := d.next()
	if err != nil {
		return err
	}
	if c == signed {
		n, err := strconv.ParseInt(string(raw), 10, v.Type().Bits())
		if err != nil {
			return E(CodeWrongType)
		}
		v.SetInt(n)
		return nil
	}
	n, err := strconv.ParseUint(string(raw), 10, v.Type().Bits())
	if err != nil {
		return E(CodeWrongType)
	}
	v.SetUint(n)
	return nil
}

// object walks the object's keys and the plan's fields together: both are in canonical order.
func (d *decoder) object(v reflect.Value, s *shape, whole bool) error {
	if !d.take('{') {
		return E(CodeWrongType)
	}
	f := 0
	for first := true; ; first = false {
		key, done, err := d.key(first)
		if err != nil {
			return err
		}
		if done {
			return missing(s.fields[f:], whole)
		}
		from := f
		for f < len(s.fields) && s.fields[f].name != string(key) {
			f++
		}
		if f == len(s.fields) {
			name := string(key)
			if len(name) > 64 {
				name = "?"
			}
			return E(CodeUnknownField, name)
		}
		if err := missing(s.fields[from:f], whole); err != nil {
			return err
		}
		p := &s.fields[f]
		f++
		fv := v.FieldByIndex(p.index)
		if err := d.value(fv, p.shape.get(), whole); err != nil {
			return within(p.name, err)
		}
		if whole && p.omitEmpty && emptyValue(fv) {
			return E(CodeNotCanonical, p.name).With("an empty value of this field is left out")
		}
	}
}

// key takes an object's next key with its colon, or its closing brace.
func (d *decoder) key(first bool) (key []byte, done bool, err error) {
	if d.take('}') {
		return nil, true, nil
	}
	if !first && !d.take(',') || d.at >= len(d.in) || d.in[d.at] != '"' {
		return nil, false, d.malformed()
	}
	if key, err = d.string('"'); err == nil && !d.take(':') {
		err = d.malformed()
	}
	return key, false, err
}

func missing(fields []fieldPlan, whole bool) error {
	if whole {
		for i := range fields {
			if !fields[i].omitEmpty {
				return E(CodeMissingField, fields[i].name)
			}
		}
	}
	return nil
}

func (d *decoder) mapping(v reflect.Value, s *shape, whole bool) error {
	if m, ok := v.Addr().Interface().(*map[string]any); ok { // a licence's face: no reflection
		return d.anyMap(m)
	}
	if !d.take('{') {
		return E(CodeWrongType)
	}
	t := v.Type()
	if v.IsNil() {
		v.Set(reflect.MakeMap(t))
	}
	elem := s.elem.get()
	for first := true; ; first = false {
		key, done, err := d.key(first)
		if err != nil || done {
			return err
		}
		k := reflect.New(t.Key()).Elem()
		k.SetString(string(key))
		if s.key == parsed {
			if err := textError(k.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(key)); err != nil {
				return err
			}
		}
		e := reflect.New(t.Elem()).Elem()
		if err := d.value(e, elem, whole); err != nil {
			return within(string(key), err)
		}
		v.SetMapIndex(k, e)
	}
}

func (d *decoder) anyMap(m *map[string]any) error {
	if !d.take('{') {
		return E(CodeWrongType)
	}
	if *m == nil {
		*m = map[string]any{}
	}
	for first := true; ; first = false {
		key, done, err := d.key(first)
		if err != nil || done {
			return err
		}
		x, err := d.any()
		if err != nil {
			return within(string(key), err)
		}
		(*m)[string(key)] = x
	}
}

func (d *decoder) list(v reflect.Value, s *shape, whole bool) error {
	if !d.take('[') {
		return E(CodeWrongType)
	}
	elem := s.elem.get()
	out := reflect.MakeSlice(v.Type(), 0, 4)
	for i := 0; ; i++ {
		if d.take(']') {
			v.Set(out)
			return nil
		}
		if i > 0 && !d.take(',') {
			return d.malformed()
		}
		e := reflect.New(s.elem.typ).Elem()
		if err := d.value(e, elem, whole); err != nil {
			return within(strconv.Itoa(i), err)
		}
		out = reflect.Append(out, e)
	}
}

// any decodes as encoding/json does into an empty interface; every number is exact in a float64.
func (d *decoder) any() (any, error) {
	if d.at >= len(d.in) {
		return nil, d.malformed()
	}
	switch c := d.in[d.at]; c {
	case '"':
		t, err := d.string(c)
		return string(t), err
	case 't', 'f':
		_, err := d.next()
		return c == 't', err
	case 'n':
		if d.ledger {
			return nil, E(CodeWrongType)
		}
		_, err := d.next()
		return nil, err
	case '{':
		m := map[string]any{}
		return m, d.anyMap(&m)
	case '[':
		l := []any{}
		err := d.list(reflect.ValueOf(&l).Elem(), anyList, false)
		return l, err
	}
	raw, err := d.next()
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return nil, E(CodeNumberNotInteger)
	}
	return float64(n), nil
}

var anyList = &shape{class: list, elem: shapeOf(reflect.TypeFor[any]())}

// within puts a field before an error's path.
func within(name string, err error) error {
	e := *AsError(err)
	if len(name) > 64 {
		name = "?"
	}
	if e.Field == "" {
		e.Field = name
	} else {
		e.Field = name + "." + e.Field
	}
	return &e
}
