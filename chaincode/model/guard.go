package model

import (
	"encoding/json"
	"reflect"
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
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				name = f.Name
			}
			_, format, _ := strings.Cut(f.Tag.Get("zl"), ",")
			if err := guardValue(v.Field(i), freeFormat(format), path+"."+name); err != nil {
				return err
			}
		}
	case reflect.Map:
		it := v.MapRange()
		for it.Next() {
			if looksPersonal([]byte(it.Key().String())) {
				return E(CodePersonalIdentifier, strings.TrimPrefix(path, "."))
			}
			if err := guardValue(it.Value(), free, path+"."+it.Key().String()); err != nil {
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

// freeFormat says which declared formats a caller fills freely.
func freeFormat(format string) bool {
	switch format {
	case "uscc", "digest", "identifier", "signature", "declaration":
		return false
	}
	return true
}

// guardEntry walks a registry value by the one entry type that it decodes as; a value that is of no type
// is walked as free throughout.
func guardEntry(raw json.RawMessage, path string) error {
	for _, k := range []Kind{KindOrganisation, KindAgency, KindLicenceType, KindSuccession, KindPolicy} {
		e := NewEntry(k)
		if decodeInto(raw, e) == nil {
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
		case c == 'x':
			c = 'X'
		case c == 'X':
		case c == ' ' || c == '-' || c == '.' || c == '_' || c == '/':
			continue
		case c == 0xef && i+2 < len(b): // full-width digits U+FF10–FF19, letters X U+FF38, x U+FF58
			switch d := b[i+2]; {
			case b[i+1] == 0xbc && d >= 0x90 && d <= 0x99:
				c = '0' + d - 0x90
			case b[i+1] == 0xbc && d == 0xb8, b[i+1] == 0xbd && d == 0x98:
				c = 'X'
			case b[i+1] == 0xbc && d == 0x8d: // full-width hyphen
				i += 2
				continue
			default:
				n = 0
				i += 2
				continue
			}
			i += 2
		case c == 0xe3 && i+2 < len(b) && b[i+1] == 0x80 && b[i+2] == 0x80: // ideographic space
			i += 2
			continue
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
		if c == 'X' {
			n = 0
		}
	}
	return false
}

func personal(s []byte) bool {
	if s[0] < '1' || s[0] > '9' || !plausibleProvince[int(s[0]-'0')*10+int(s[1]-'0')] || s[17] == 0 {
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
