package model

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"
)

// TestCanonicalVectors: RFC 8785's own examples as far as they lie within our narrower JSON, and our rules.
func TestCanonicalVectors(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		// RFC 8785 section 3.2.3 without its control characters: keys by UTF-16 code units.
		{"key order", `{"\u20ac":"Euro Sign","1":"One","\u00f6":"Latin Small Letter O With Diaeresis","\ufb33":"Hebrew Letter Dalet With Dagesh","\ud83d\ude00":"Emoji: Grinning Face"}`,
			"{\"1\":\"One\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"\U0001F600\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"},
		{"literals", `{"literals":[null, true, false]}`, `{"literals":[null,true,false]}`},
		{"escapes", `{"s":"\u20ac$\u0041'\u0042\u0022\u005c\\\"\/"}`, `{"s":"€$A'B\"\\\\\"/"}`},
		// From the RFC's companion test data: arrays.json, structures.json, french.json, in part.
		{"arrays", "[\n  56,\n  {\n    \"d\": true,\n    \"10\": null,\n    \"1\": [ ]\n  }\n]", `[56,{"1":[],"10":null,"d":true}]`},
		{"structures", `{"1": {"f": {"f": "hi","F": 5} ,"n": " "},"10": { },"": "empty","a": { },"111": [ {"e": "yes","E": "no" } ],"A": { }}`,
			`{"":"empty","1":{"f":{"F":5,"f":"hi"},"n":" "},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}`},
		{"french", `{"peach": "This sorting order","péché": "is wrong according to French","pêche": "but canonicalization MUST","sin":   "ignore locale"}`,
			`{"peach":"This sorting order","péché":"is wrong according to French","pêche":"but canonicalization MUST","sin":"ignore locale"}`},
		{"private use after surrogates", `{"\uffff":1,"\ud800\udc00":2,"\ue000":3}`, "{\"\U00010000\":2,\"\ue000\":3,\"\uffff\":1}"},
		{"blanks", " \t\r\n{ \"b\" : 1 , \"a\" : [ 1 , 2 ] } \n", `{"a":[1,2],"b":1}`},
		{"greatest", `[9007199254740991,-9007199254740991,0]`, `[9007199254740991,-9007199254740991,0]`},
		{"full-width", `"（北京）　有限公司"`, `"（北京）　有限公司"`},
		{"deepest", strings.Repeat("[", 17) + strings.Repeat("]", 17), strings.Repeat("[", 17) + strings.Repeat("]", 17)},
	} {
		got, err := Canonicalize([]byte(tt.in))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s, %v", tt.name, got, err)
			continue
		}
		if other, err := jcs.Transform([]byte(tt.in)); err == nil && string(other) != tt.want {
			t.Errorf("%s: the other implementation says %s", tt.name, other)
		}
		if !IsCanonical(got) {
			t.Errorf("%s: not its own canonical form", tt.name)
		}
		if tt.in != tt.want && IsCanonical([]byte(tt.in)) {
			t.Errorf("%s: the input passes for canonical", tt.name)
		}
	}
}

func TestCanonicalRefusals(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Code
	}{
		{``, CodeInvalidJSON}, {`{`, CodeInvalidJSON}, {`{"a"}`, CodeInvalidJSON}, {`{"a":}`, CodeInvalidJSON}, {`[1,]`, CodeInvalidJSON}, {`{"a":1,}`, CodeInvalidJSON},
		{`{a:1}`, CodeInvalidJSON}, {`'a'`, CodeInvalidJSON}, {`"a`, CodeInvalidJSON}, {`1 2`, CodeInvalidJSON}, {`nul`, CodeInvalidJSON}, {`True`, CodeInvalidJSON},
		{`01`, CodeInvalidJSON}, {`+1`, CodeInvalidJSON}, {`-`, CodeInvalidJSON}, {`"\x"`, CodeInvalidJSON}, {`"\u12"`, CodeInvalidJSON}, {`"\u12g4"`, CodeInvalidJSON}, {`"\u+123"`, CodeInvalidJSON},
		{"\ufeff{}", CodeInvalidJSON}, {"{}\x00", CodeInvalidJSON}, {`[1 2]`, CodeInvalidJSON}, {`NaN`, CodeInvalidJSON}, {`/**/1`, CodeInvalidJSON},
		{`1.0`, CodeNumberNotInteger}, {`1e3`, CodeNumberNotInteger}, {`-0`, CodeNumberNotInteger}, {`9007199254740992`, CodeNumberNotInteger},
		{`-9007199254740992`, CodeNumberNotInteger}, {`99999999999999999999`, CodeNumberNotInteger}, {`0.5`, CodeNumberNotInteger},
		{`{"a":1,"a":2}`, CodeDuplicateKey}, {`{"a":1,"\u0061":2}`, CodeDuplicateKey}, {`[{"x":{"b":1,"a":0,"b":1}}]`, CodeDuplicateKey},
		{"\"\xff\"", CodeBadUTF8}, {"\"\xed\xa0\x80\"", CodeBadUTF8}, {`"\ud800"`, CodeBadUTF8}, {`"\ud800\u0041"`, CodeBadUTF8}, {`"\udc00"`, CodeBadUTF8}, {"{\"\xc0\x80\":1}", CodeBadUTF8},
		{"\"a\nb\"", CodeControlCharacter}, {`"a\nb"`, CodeControlCharacter}, {`"\u0000"`, CodeControlCharacter}, {"\"\x7f\"", CodeControlCharacter},
		{`"\u0085"`, CodeControlCharacter}, {`"\u202e"`, CodeControlCharacter}, {`"\u2028"`, CodeControlCharacter}, {`"\ufeff"`, CodeControlCharacter}, {`"\u2066"`, CodeControlCharacter},
		{strings.Repeat("[", 18) + strings.Repeat("]", 18), CodeTooDeep}, {strings.Repeat(`{"a":`, 18) + "1" + strings.Repeat("}", 18), CodeTooDeep}, {strings.Repeat("[", 100_000), CodeTooDeep},
	} {
		_, err := Canonicalize([]byte(tt.in))
		if err == nil || AsError(err).Code != tt.want {
			t.Errorf("%.60q: got %v, want %s", tt.in, err, tt.want)
		}
		if IsCanonical([]byte(tt.in)) {
			t.Errorf("%.60q passes for canonical", tt.in)
		}
	}
}

// FuzzCanonicalize: what we accept another implementation of RFC 8785 writes alike, and IsCanonical says
// exactly whether a text is its own canonical form.
func FuzzCanonicalize(f *testing.F) {
	for _, s := range []string{
		`{"b":[1,-2,{"x":null}],"a":"\u20ac\"\\/","":true}`, `{"\ud83d\ude00":1,"\ufb33":2}`, `[]`, `"a"`, `9007199254740991`, `-0`, `{"a":1,"a":1}`, `{"\"":1,"\\":2,"#":3,"]":4}`, " [ 1 ] ",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Canonicalize(in)
		if canonical := err == nil && bytes.Equal(got, in); canonical != IsCanonical(in) {
			t.Fatalf("IsCanonical(%q) is %v; canonical form %q, %v", in, !canonical, got, err)
		}
		if err != nil {
			return
		}
		again, err := Canonicalize(got)
		if err != nil || !bytes.Equal(again, got) || !IsCanonical(got) {
			t.Fatalf("%q is not stable: %q, %v", got, again, err)
		}
		if !json.Valid(in) {
			t.Fatalf("%q is accepted and not JSON", in)
		}
		if in[0] == '{' || in[0] == '[' { // the other takes nothing else at the top
			if other, err := jcs.Transform(in); err != nil || !bytes.Equal(other, got) {
				t.Fatalf("%q: we write %q, the other %q, %v", in, got, other, err)
			}
		}
	})
}

// anyJSON draws values within our JSON.
func anyJSON() *rapid.Generator[any] {
	text := rapid.StringOfN(rapid.SampledFrom([]rune("abAZ09_\"\\/ é中（）€\U0001F600\U0010FFFF\uE000\uFB33-:,{}[]")), 0, 8, -1)
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		leaves := []*rapid.Generator[any]{
			text.AsAny(), rapid.Bool().AsAny(), rapid.Just[any](nil),
			rapid.Map(rapid.Int64Range(-MaxSafeInt+1, MaxSafeInt-1), func(n int64) any { return float64(n) }),
		}
		if depth > 0 {
			leaves = append(leaves,
				rapid.Map(rapid.SliceOfN(value(depth-1), 0, 4), func(l []any) any { return l }),
				rapid.Map(rapid.MapOfN(text, value(depth-1), 0, 4), func(m map[string]any) any { return m }))
		}
		return rapid.OneOf(leaves...)
	}
	return value(3)
}

func TestCanonicalOfValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyJSON().Draw(t, "value")
		std, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Canonicalize(std)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Canonical(v)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %s, %v, want %s", got, err, want)
		}
		var back any
		if err := DecodeCanonical(got, &back); err != nil {
			t.Fatal(err)
		}
		if again, err := Canonical(back); err != nil || !bytes.Equal(again, want) {
			t.Fatalf("decoded: %s, %v", again, err)
		}
		if other, err := jcs.Transform(std); err == nil && !bytes.Equal(other, want) {
			t.Fatalf("the other implementation says %s, not %s", other, want)
		}
	})
}
