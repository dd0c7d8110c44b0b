package model

import (
	"encoding"
	"encoding/json"
	"reflect"
	"sort"
	"strings"
	"sync"
)

// The encoder (encode.go) and the decoder (decode.go) of Go values share one plan a struct type: its fields
// by JSON name in canonical order. encoding/json is no substitute: it takes "Value" for "value", null for
// nothing and an absent field for an empty one, so one signed text would have many readings, and it costs
// three times as much on the path that every record takes.

// wholeValue marks values that are hashed by themselves (a licence, a registry entry). On the ledger they
// stand in one writing only: every field present unless it is empty and marked omitempty. What the decoder
// accepts of them, the encoder writes again byte for byte.
type wholeValue interface{ whole() }

// class is how a Go type is written.
type class uint8

const (
	foreign class = iota // by encoding/json: whatever has methods of its own or is none of the below
	texted               // a string by MarshalText and UnmarshalText
	parsed               // a string kind that UnmarshalText checks on the way in
	plain                // a string kind
	boolean
	signed
	unsigned
	rawJSON
	object // struct
	mapping
	list
	pointer
	anything
)

var (
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	rawMessage      = reflect.TypeFor[json.RawMessage]()
	wholeType       = reflect.TypeFor[wholeValue]()
)

// shape is what is known of a type.
type shape struct {
	class  class
	whole  bool
	fields []fieldPlan // of an object, in canonical order
	elem   *lazyShape  // of a mapping, list or pointer
	key    class       // of a mapping: plain or parsed
}

type fieldPlan struct {
	name      string
	key       []byte // `"name":`
	index     []int
	omitEmpty bool
	shape     *lazyShape
}

// lazyShape breaks the circle of recursive types.
type lazyShape struct {
	typ reflect.Type
	get func() *shape
}

var shapes sync.Map // reflect.Type → *lazyShape

func shapeOf(t reflect.Type) *lazyShape {
	if s, ok := shapes.Load(t); ok {
		return s.(*lazyShape)
	}
	s, _ := shapes.LoadOrStore(t, &lazyShape{t, sync.OnceValue(func() *shape { return newShape(t) })})
	return s.(*lazyShape)
}

func newShape(t reflect.Type) *shape {
	s := &shape{class: classOf(t), whole: reflect.PointerTo(t).Implements(wholeType)}
	switch s.class {
	case object:
		fields, ok := fieldsOf(t, nil)
		if !ok {
			s.class = foreign
			break
		}
		sort.Slice(fields, func(i, j int) bool { return utf16Less(fields[i].name, fields[j].name) })
		for i := 1; i < len(fields); i++ {
			if fields[i-1].name == fields[i].name { // which of the two is meant is encoding/json's to say
				s.class = foreign
			}
		}
		s.fields = fields
	case mapping:
		if s.key = classOf(t.Key()); s.key != plain && s.key != parsed {
			s.class = foreign
		}
		s.elem = shapeOf(t.Elem())
	case list, pointer:
		s.elem = shapeOf(t.Elem())
	}
	return s
}

func classOf(t reflect.Type) class {
	p := reflect.PointerTo(t)
	switch {
	case t == rawMessage:
		return rawJSON
	case t.Kind() == reflect.Pointer:
		return pointer
	case p.Implements(jsonMarshaler), p.Implements(jsonUnmarshaler):
		return foreign
	case t.Implements(textMarshaler) && p.Implements(textUnmarshaler):
		return texted
	case p.Implements(textMarshaler):
		return foreign
	case p.Implements(textUnmarshaler):
		if t.Kind() == reflect.String {
			return parsed
		}
		return foreign
	}
	switch t.Kind() {
	case reflect.String:
		return plain
	case reflect.Bool:
		return boolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return signed
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return unsigned
	case reflect.Struct:
		return object
	case reflect.Map:
		return mapping
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 { // bytes are base64 to encoding/json
			return list
		}
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return anything
		}
	}
	return foreign
}

// fieldsOf lists a struct's fields as encoding/json names them, those of embedded structs in line. ok is
// false where a tag asks for what this codec does not do.
func fieldsOf(t reflect.Type, at []int) (fields []fieldPlan, ok bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		index := append(append([]int{}, at...), i)
		if f.Anonymous && name == "" {
			if classOf(f.Type) != object {
				return nil, false
			}
			inner, ok := fieldsOf(f.Type, index)
			if !ok {
				return nil, false
			}
			fields = append(fields, inner...)
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if options != "" && options != "omitempty" {
			return nil, false
		}
		if name == "" {
			name = f.Name
		}
		fields = append(fields, fieldPlan{
			name: name, key: append(appendText(nil, name), ':'), index: index,
			omitEmpty: options == "omitempty", shape: shapeOf(f.Type),
		})
	}
	return fields, true
}
