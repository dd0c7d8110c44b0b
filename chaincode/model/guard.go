package model

import (
	"encoding/json"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Guard refuses public content that holds a citizen identity number: 18 characters with a valid GB 11643
// check character, a plausible province and a date that exists, anywhere in a free value, written
// full-width or broken up by spaces and hyphens or not. Typed values (USCC, digest, identifier, signature)
// are exempt; a licence identifier's serial, which callers choose, is not.
//
// raw is the canonical body, body its decoded struct. Nearly all bodies hold nothing that looks like a
// number and pay one scan; only a hit walks the struct.
func Guard(raw []byte, body any) error {
	if !looksPersonal(raw) {
		return nil
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
// bits; "record" repeats an id that stands in the value beside it.
func freeFormat(format string) bool {
	switch format {
	case "uscc", "typecode", "record", "digest", "identifier", "signature", "declaration":
		return false
	}
	return true
}

// guardNames checks the names in an operation's envelope. A party's record id is its USCC and a licence
// type's begins with one: those are typed.
func guardNames(op *Operation) error {
	if looksPersonal([]byte(op.Agency)) {
		return E(CodePersonalIdentifier, "agency")
	}
	if !looksPersonal([]byte(op.Record)) {
		return nil
	}
	if op.Kind == KindParty || op.Kind == KindLicenceType {
		if _, err := ParseUSCC(string(op.Record[:min(18, len(op.Record))])); err == nil {
			return nil
		}
	}
	return E(CodePersonalIdentifier, "record")
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
	if looksPersonal(raw) {
		return E(CodePersonalIdentifier, strings.TrimPrefix(path, "."))
	}
	return nil
}

// looksPersonal slides over the digits of b, folding full-width forms and passing over separators.
func looksPersonal(b []byte) bool {
	var run [18]byte // the last digits, oldest first
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c >= '0' && c <= '9':
		case c == 'x' || c == 'X':
			c = 'X'
		case c == ' ' || c == '-' || c == '.' || c == '_' || c == '/':
			continue
		case c == 0xc2 || c == 0xe2 || c == 0xe3 || c == 0xef: // where other writings of digits and separators begin
			r, size := utf8.DecodeRune(b[i:])
			i += size - 1
			var separator bool
			if c, separator = foldDigit(r); separator {
				continue
			}
			if c == 0 {
				n = 0
				continue
			}
		default:
			n = 0
			continue
		}
		if n == 18 {
			copy(run[:], run[1:])
			n--
		}
		run[n] = c
		n++
		if n == 18 && personal(run[:]) {
			return true
		}
		if c == 'X' { // stands only at the end
			n = 0
		}
	}
	return false
}

// foldDigit gives a full-width digit or X (or the Roman ten that stands for it) its plain form, 0 for other
// characters, and finds the blanks, dashes and invisible characters that break a number up.
func foldDigit(r rune) (digit byte, separator bool) {
	switch {
	case r >= '０' && r <= '９':
		return byte('0' + r - '０'), false
	case r == 'Ｘ', r == 'ｘ', r == 'Ⅹ', r == 'ⅹ':
		return 'X', false
	case r == 0xa0, r == 0xad, r == 0xb7, r >= 0x2000 && r <= 0x200d, r >= 0x2010 && r <= 0x2015, r == 0x202f, r == 0x2060,
		r == 0x2212, r == 0x3000, r == '－', r == '．', r == '＿', r == '／':
		return 0, true
	}
	return 0, false
}

func personal(s []byte) bool {
	if s[0] < '1' || s[0] > '9' || !plausibleProvince[int(s[0]-'0')*10+int(s[1]-'0')] {
		return false
	}
	if s[6] != '1' && s[6] != '2' || !citizenCheck(s) {
		return false
	}
	_, err := ParseDate(string(s[6:10]) + "-" + string(s[10:12]) + "-" + string(s[12:14]))
	return err == nil && string(s[6:10]) < "2100"
}

var plausibleProvince = func() (p [100]bool) {
	for _, r := range [][2]int{{11, 15}, {21, 23}, {31, 37}, {41, 46}, {50, 54}, {61, 65}, {71, 71}, {81, 83}, {91, 91}} {
		for i := r[0]; i <= r[1]; i++ {
			p[i] = true
		}
	}
	return
}()
