package model

import (
	"strings"
	"unicode/utf8"
)

// Visibility says who may read a field. Every field of every body and value declares it in its zl tag,
// "public,<format>"; the format says whether the value is free (text, entry) or typed, which the
// personal-identifier guard needs. A test fails on a field without declaration.
type Visibility string

// The two visibilities.
const (
	Public       Visibility = "public"
	Confidential Visibility = "confidential"
)

// Names of confidential fields that every licence type has.
const (
	FieldHolderCode = "holder_code"
	FieldHolderName = "holder_name"
	FieldFile       = "file"
)

// LicenceConfidential is the confidential body of a licence: it stays with its recipients' nodes, and the
// ledger holds one commitment a field. Face values are keyed by face field.
type LicenceConfidential struct {
	Face       map[string]any `json:"face,omitempty" zl:"confidential,text"`
	File       string         `json:"file,omitempty" zl:"confidential,digest"`      // SHA-256 of an unsealed file, hexadecimal
	HolderCode string         `json:"holder_code,omitempty" zl:"confidential,text"` // citizen id or other personal code
	HolderName string         `json:"holder_name,omitempty" zl:"confidential,text"`
}

// Fields flattens the body to field → value, the unit of commitment.
func (c *LicenceConfidential) Fields() map[string]any {
	out := map[string]any{}
	for k, v := range c.Face {
		out[k] = v
	}
	for k, v := range map[string]string{FieldHolderCode: c.HolderCode, FieldHolderName: c.HolderName, FieldFile: c.File} {
		if v != "" {
			out[k] = v
		}
	}
	return out
}

// FaceField declares a face field of a licence type in a subset of JSON Schema: type, title, enum,
// minLength, maxLength, minimum, maximum, format "date"; beside it the visibility and whether it is required.
// No patterns and no references, so that every peer decides alike at a known cost.
type FaceField struct {
	Enum       []string   `json:"enum,omitempty" zl:"public,text"`
	Format     string     `json:"format,omitempty" zl:"public,code"`
	MaxLength  int        `json:"maxLength,omitempty" zl:"public,number"` // characters
	Maximum    *int64     `json:"maximum,omitempty" zl:"public,number"`
	MinLength  int        `json:"minLength,omitempty" zl:"public,number"`
	Minimum    *int64     `json:"minimum,omitempty" zl:"public,number"`
	Required   bool       `json:"required" zl:"public,flag"`
	Title      string     `json:"title" zl:"public,text"`
	Type       string     `json:"type" zl:"public,code"` // string, integer, boolean
	Visibility Visibility `json:"visibility" zl:"public,code"`
}

func (f *FaceField) check(name string) error {
	field := "value.face." + name
	if len(name) == 0 || len(name) > 64 {
		return E(CodeBadID, "value.face")
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (i == 0 || ((c < '0' || c > '9') && c != '_')) {
			return E(CodeBadID, "value.face")
		}
	}
	switch name {
	case FieldHolderCode, FieldHolderName, FieldFile:
		return E(CodeBadID, field).With("the name is taken by every licence's own field")
	}
	if f.Visibility != Public && f.Visibility != Confidential {
		return E(CodeMissingField, field+".visibility")
	}
	switch f.Type {
	case "string":
		if f.Format != "" && f.Format != "date" || f.Minimum != nil || f.Maximum != nil || f.MaxLength > MaxText || f.MaxLength < 0 || f.MinLength < 0 {
			return E(CodeBadValue, field)
		}
	case "integer", "boolean":
		if f.Format != "" || len(f.Enum) > 0 || f.MaxLength != 0 || f.MinLength != 0 || (f.Type == "boolean" && (f.Minimum != nil || f.Maximum != nil)) {
			return E(CodeBadValue, field)
		}
	default:
		return E(CodeBadValue, field+".type").OneOf("string", "integer", "boolean")
	}
	return checkLine(field+".title", f.Title, 1, MaxName)
}

// CheckValue holds a decoded JSON value against the declaration.
func (f *FaceField) CheckValue(field string, v any) error {
	switch x := v.(type) {
	case string:
		if f.Type != "string" {
			return E(CodeWrongType, field)
		}
		limit := f.MaxLength
		if limit == 0 {
			limit = MaxText
		}
		if n := utf8.RuneCountInString(x); n > limit {
			return E(CodeTooLong, field)
		} else if n < f.MinLength {
			return E(CodeBadValue, field)
		}
		if f.Format == "date" {
			if _, err := ParseDate(x); err != nil {
				return E(CodeBadDate, field)
			}
		}
		if len(f.Enum) == 0 {
			return nil
		}
		for _, e := range f.Enum {
			if e == x {
				return nil
			}
		}
		return E(CodeBadValue, field).OneOf(f.Enum...)
	case float64:
		n := int64(x)
		if f.Type != "integer" || float64(n) != x {
			return E(CodeWrongType, field)
		}
		if (f.Minimum != nil && n < *f.Minimum) || (f.Maximum != nil && n > *f.Maximum) {
			return E(CodeBadValue, field)
		}
		return nil
	case bool:
		if f.Type != "boolean" {
			return E(CodeWrongType, field)
		}
		return nil
	}
	return E(CodeWrongType, field)
}

// checkLine checks the length in characters of a text that the decoder has already cleared of control
// characters and bad encoding, and refuses one that is blank.
func checkLine(field, s string, least, most int) error {
	n := utf8.RuneCountInString(s)
	if n > most {
		return E(CodeTooLong, field)
	}
	if n < least || (least > 0 && strings.TrimSpace(s) == "") {
		return E(CodeMissingField, field)
	}
	if !utf8.ValidString(s) {
		return E(CodeBadUTF8, field)
	}
	if hasControl(s) {
		return E(CodeControlCharacter, field)
	}
	return nil
}
