package model

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// Guard refuses public content that holds a citizen identity number: 18 characters with a valid GB 11643
// check character, a plausible province and a date that exists, anywhere in a free value, written
// full-width or broken up by spaces and hyphens or not. Typed values (USCC, digest, identifier, signature)
// are exempt; a licence identifier's serial, which callers choose, is not.
//
// raw is the canonical body, body its decoded struct. Nearly all bodies hold nothing that looks like a
// number and pay one scan; only a hit walks the struct.
func Guard(raw []byte, body any) error {
	if !mayBePersonal(raw) {
		return nil
	}
	if p, ok := body.(*ProposeBody); ok && recordPersonal(p.Kind, p.Record) {
		return E(CodePersonalIdentifier, "record")
	}
	return guardValue(reflect.ValueOf(body), true, "")
}

// HoldsPersonalIdentifier reports whether a text holds a citizen identity number.
func HoldsPersonalIdentifier(s string) bool { return looksPersonal([]byte(s)) }

func guardValue(v reflect.Value, free bool, path string) error {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return guardValue(v.Elem(), free, path)
	case reflect.Struct:
		for i := 0; i < v.NumField(); i++ {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			at := path
			if !f.Anonymous { // an embedded struct's fields stand in line
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				at += "." + name
			}
			_, format, _ := strings.Cut(f.Tag.Get("zl"), ",")
			if err := guardValue(v.Field(i), freeFormat(format), at); err != nil {
				return err
			}
		}
	case reflect.Map:
		keys := v.MapKeys()
		sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
		for _, k := range keys {
			if looksPersonal([]byte(k.String())) {
				return E(CodePersonalIdentifier, strings.TrimPrefix(path, "."))
			}
			if err := guardValue(v.MapIndex(k), free, path+"."+k.String()); err != nil {
				return err
			}
		}
	case reflect.Slice, reflect.Array:
		if raw, ok := v.Interface().(json.RawMessage); ok {
			return guardEntry(raw, path)
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := 0; i < v.Len(); i++ {
			if err := guardValue(v.Index(i), free, path+"."+strconv.Itoa(i)); err != nil {
				return err
			}
		}
	case reflect.String:
		s := v.String()
		if id, ok := v.Interface().(LicenceID); ok {
			s, free = id.Parts().Serial, true
		}
		if free && looksPersonal([]byte(s)) {
			return E(CodePersonalIdentifier, strings.TrimPrefix(path, "."))
		}
	case reflect.Float64:
		if free && looksPersonal([]byte(strconv.FormatFloat(v.Float(), 'f', -1, 64))) {
			return E(CodePersonalIdentifier, strings.TrimPrefix(path, "."))
		}
	}
	return nil
}

// freeFormat says which declared formats a caller fills freely. The others are checked codes or random
// bits; a "record" is guarded by its kind.
func freeFormat(format string) bool {
	switch format {
	case "uscc", "typecode", "record", "digest", "identifier", "signature", "declaration":
		return false
	}
	return true
}

// guardNames checks the names in an operation's envelope.
func guardNames(op *Operation) error {
	if looksPersonal([]byte(op.Agency)) {
		return E(CodePersonalIdentifier, "agency")
	}
	if recordPersonal(op.Kind, op.Record) {
		return E(CodePersonalIdentifier, "record")
	}
	return nil
}

// recordPersonal reports whether a record's id holds a number. A party's id is its USCC and a licence
// type's begins with one: those are typed.
func recordPersonal(k Kind, id RecordID) bool {
	if !looksPersonal([]byte(id)) {
		return false
	}
	if k == KindParty || k == KindLicenceType {
		if _, err := ParseUSCC(string(id[:min(18, len(id))])); err == nil {
			return false
		}
	}
	return true
}

// guardEntry walks a registry value by the one entry type that it decodes as; a value that is of no type
// is walked as free throughout.
func guardEntry(raw json.RawMessage, path string) error {
	for _, k := range []Kind{KindOrganisation, KindAgency, KindLicenceType, KindSuccession, KindPolicy} {
		e := NewEntry(k)
		if decodeLedger(raw, e) == nil {
			return guardValue(reflect.ValueOf(e), true, path)
		}
	}
	if textsPersonal(raw) {
		return E(CodePersonalIdentifier, strings.TrimPrefix(path, "."))
	}
	return nil
}

// textsPersonal walks JSON that decodes as nothing known: every string and number by itself is free.
func textsPersonal(raw []byte) bool {
	if !mayBePersonal(raw) {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	for {
		t, err := d.Token()
		switch {
		case err == io.EOF:
			return false
		case err != nil:
			return true
		}
		switch t := t.(type) {
		case string:
			if looksPersonal([]byte(t)) {
				return true
			}
		case json.Number:
			if looksPersonal([]byte(t)) {
				return true
			}
		}
	}
}
