package model

import (
	"bytes"
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
)

// Canonical encodes a Go value in canonical form, with encoding/json's tags. Two things differ from
// encoding/json: an absent list is [] and an absent map {}, never null, and text that is not valid UTF-8
// or holds control characters is refused instead of repaired.
func Canonical(v any) ([]byte, error) {
	return appendCanonical(make([]byte, 0, 512), reflect.ValueOf(v))
}

func appendCanonical(b []byte, v reflect.Value) ([]byte, error) {
	if !v.IsValid() {
		return append(b, "null"...), nil
	}
	return appendValue(b, v, shapeOf(v.Type()).get())
}

func appendValue(b []byte, v reflect.Value, s *shape) ([]byte, error) {
	switch s.class {
	case plain, parsed:
		return appendString(b, v.String())
	case texted:
		t, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return nil, AsError(err)
		}
		return appendString(b, string(t))
	case boolean:
		return strconv.AppendBool(b, v.Bool()), nil
	case signed:
		n := v.Int()
		if n <= -MaxSafeInt || n >= MaxSafeInt {
			return nil, E(CodeNumberNotInteger)
		}
		return strconv.AppendInt(b, n, 10), nil
	case unsigned:
		n := v.Uint()
		if n >= MaxSafeInt {
			return nil, E(CodeNumberNotInteger)
		}
		return strconv.AppendUint(b, n, 10), nil
	case rawJSON:
		raw := v.Bytes()
		if len(raw) == 0 {
			return append(b, "null"...), nil
		}
		if IsCanonical(raw) {
			return append(b, raw...), nil
		}
		c, err := Canonicalize(raw)
		return append(b, c...), err
	case object:
		return appendObject(b, v, s)
	case mapping:
		return appendMap(b, v, s)
	case list:
		b = append(b, '[')
		elem := s.elem.get()
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendValue(b, v.Index(i), elem); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case pointer:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return appendValue(b, v.Elem(), s.elem.get())
	case anything:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return appendAny(b, v.Interface())
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	x := v.Interface()
	if v.CanAddr() { // the type's methods may be on its pointer
		x = v.Addr().Interface()
	}
	if err := enc.Encode(x); err != nil {
		return nil, AsError(err)
	}
	c, err := Canonicalize(buf.Bytes())
	return append(b, c...), err
}

func appendString(b []byte, s string) ([]byte, error) {
	if _, err := checkText(s); err != nil {
		return nil, err
	}
	return appendText(b, s), nil
}

func appendObject(b []byte, v reflect.Value, s *shape) ([]byte, error) {
	b = append(b, '{')
	first := true
	for i := range s.fields {
		f := &s.fields[i]
		fv := v.FieldByIndex(f.index)
		if f.omitEmpty && emptyValue(fv) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.key...)
		var err error
		if b, err = appendValue(b, fv, f.shape.get()); err != nil {
			return nil, within(f.name, err)
		}
	}
	return append(b, '}'), nil
}

func appendMap(b []byte, v reflect.Value, s *shape) ([]byte, error) {
	values := make(map[string]reflect.Value, v.Len())
	for it := v.MapRange(); it.Next(); {
		values[it.Key().String()] = it.Value()
	}
	b = append(b, '{')
	elem := s.elem.get()
	for i, k := range sortedKeys(values) {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendString(b, k); err != nil {
			return nil, err
		}
		if b, err = appendValue(append(b, ':'), values[k], elem); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendAny writes a decoded JSON value canonically, the usual kinds without reflection.
func appendAny(b []byte, v any) ([]byte, error) {
	switch x := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case string:
		return appendString(b, x)
	case bool:
		return strconv.AppendBool(b, x), nil
	case float64:
		if x != math.Trunc(x) || math.Abs(x) >= MaxSafeInt {
			return nil, E(CodeNumberNotInteger)
		}
		return strconv.AppendInt(b, int64(x), 10), nil
	case map[string]any:
		b = append(b, '{')
		for i, k := range sortedKeys(x) {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendString(b, k); err != nil {
				return nil, err
			}
			if b, err = appendAny(append(b, ':'), x[k]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return appendCanonical(b, reflect.ValueOf(v))
}

// emptyValue is what omitempty leaves out.
func emptyValue(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Interface, reflect.Pointer:
		return v.IsZero()
	}
	return false
}
