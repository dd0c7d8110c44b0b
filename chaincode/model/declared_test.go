package model

import (
	"reflect"
	"strings"
	"testing"
	"unicode"
)

var formats = map[string]bool{
	"": true, "text": true, "entry": true, "id": true, "record": true, "code": true, "typecode": true, "uscc": true, "identifier": true, "digest": true,
	"signature": true, "date": true, "number": true, "flag": true,
}

// undeclared lists what is wrong with the declarations of a type and all it reaches.
func undeclared(t reflect.Type, want Visibility, seen map[reflect.Type]bool) (faults []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] || classOf(t) != object {
		return nil
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		at := t.Name() + "." + f.Name
		if f.Anonymous {
			faults = append(faults, undeclared(f.Type, want, seen)...)
			continue
		}
		tag, ok := f.Tag.Lookup("zl")
		visibility, format, _ := strings.Cut(tag, ",")
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		switch {
		case !ok || Visibility(visibility) != Public && Visibility(visibility) != Confidential:
			faults = append(faults, at+" declares no visibility")
		case Visibility(visibility) != want:
			faults = append(faults, at+" is "+visibility)
		case !formats[format]:
			faults = append(faults, at+" has the unknown format "+format)
		case format == "" && classOf(inner) != object:
			faults = append(faults, at+" has no format")
		}
		if _, _, ok := strings.Cut(f.Tag.Get("json"), ",string"); ok || f.Tag.Get("json") == "" {
			faults = append(faults, at+" has no JSON name")
		}
		// What the guard passes over must be a checked code or random bits by its Go type.
		if want == Public && !freeFormat(format) && inner.Kind() == reflect.String && format != "signature" && classOf(inner) != parsed {
			faults = append(faults, at+" is exempt from the guard and its type checks nothing")
		}
		faults = append(faults, undeclared(f.Type, want, seen)...)
	}
	return faults
}

// TestFieldsAreDeclared: every field of every body, entry and value says who may read it, and nothing that an
// operation can reach is confidential.
func TestFieldsAreDeclared(t *testing.T) {
	var roots []any
	for _, r := range Types {
		roots = append(roots, r.Body())
	}
	for k := range Machines {
		if e := NewEntry(k); e != nil {
			roots = append(roots, e)
		}
	}
	roots = append(roots, new(GenesisDocument), new(Licence))
	for _, r := range roots {
		for _, fault := range undeclared(reflect.TypeOf(r), Public, map[reflect.Type]bool{}) {
			t.Errorf("%T: %s", r, fault)
		}
	}
	for _, fault := range undeclared(reflect.TypeFor[LicenceConfidential](), Confidential, map[reflect.Type]bool{}) {
		t.Error(fault)
	}
	// The test itself must be able to fail.
	type bad struct {
		A string `json:"a"`
		B string `json:"b" zl:"secret,text"`
		C string `json:"c" zl:"confidential,text"`
		D string `json:"d" zl:"public,shape"`
		E string `json:"e" zl:"public"`
		F string `json:"f" zl:"public,uscc"`
		G []struct {
			H string `json:"h"`
		} `json:"g" zl:"public"`
	}
	if n := len(undeclared(reflect.TypeFor[bad](), Public, map[reflect.Type]bool{})); n != 7 {
		t.Errorf("%d of 7 faults found", n)
	}
}

// TestCodesAreComplete: every code has both sentences, a kind with a status, and keeps to its alphabet.
func TestCodesAreComplete(t *testing.T) {
	for _, c := range Codes() {
		e := E(c)
		if e.Zh() == "" || e.En() == "" || HTTPStatus[e.Kind()] == 0 || e.Status() != HTTPStatus[e.Kind()] {
			t.Errorf("%s is incomplete", c)
		}
		for _, r := range string(c) {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' {
				t.Errorf("%s is no code", c)
			}
		}
		if !strings.ContainsFunc(e.Zh(), func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			t.Errorf("%s has no Chinese sentence", c)
		}
		p := e.Problem()
		if back := p.Error(); back.Code != c || p.Status != e.Status() || (p.Written == "perhaps") != (e.Kind() == Unknown) {
			t.Errorf("%s does not survive the wire: %+v", c, p)
		}
	}
	if k := E("no_such_code").Kind(); k != Internal {
		t.Errorf("an unknown code is %s", k)
	}
	for r := range reasons {
		if r.Zh() == "" || r.En() == "" || r.Check() == "" {
			t.Errorf("reason %s is incomplete", r)
		}
	}
	for _, s := range Machines[KindLicence].States {
		if s != InForce && reasons[Reason(s)].zh == "" {
			t.Errorf("state %s is no reason", s)
		}
	}
}

// TestMachines: every type has a transition, every state named is the machine's and can be reached, and no
// table says two things of one case.
func TestMachines(t *testing.T) {
	used := map[Type]bool{}
	for k, m := range Machines {
		if m.Kind != k {
			t.Errorf("%s is filed under %s", m.Kind, k)
		}
		known, reached := map[State]bool{}, map[State]bool{}
		for _, s := range m.States {
			known[s] = true
		}
		cases := map[string]bool{}
		for _, tr := range m.Transitions {
			used[tr.Type] = true
			if _, ok := Types[tr.Type]; !ok {
				t.Errorf("%s: unknown type %s", k, tr.Type)
			}
			if tr.To != "" && !known[tr.To] {
				t.Errorf("%s: %s leads to unknown %s", k, tr.Type, tr.To)
			}
			reached[tr.To] = true
			if tr.From == nil && tr.To == "" {
				t.Errorf("%s: %s makes a record without state", k, tr.Type)
			}
			from := tr.From
			if from == nil {
				from = []State{""}
			}
			for _, s := range from {
				if s != "" && !known[s] {
					t.Errorf("%s: %s from unknown %s", k, tr.Type, s)
				}
				if c := string(tr.Type) + "/" + string(s); cases[c] {
					t.Errorf("%s: %s stands twice", k, c)
				} else {
					cases[c] = true
				}
				next, err := m.Next(s, tr.Type)
				want := tr.To
				if want == "" {
					want = s
				}
				if err != nil || next != want {
					t.Errorf("%s: %s from %q gives %q, %v", k, tr.Type, s, next, err)
				}
			}
		}
		// Approved is reached by the k-th approval, which the contract counts.
		for _, s := range m.States {
			if !reached[s] && s != Approved {
				t.Errorf("%s: nothing leads to %s", k, s)
			}
			if n := m.number(s); m.States[n] != s {
				t.Errorf("%s: number of %s", k, s)
			}
		}
	}
	for typ, r := range Types {
		if !used[typ] {
			t.Errorf("%s is in no machine", typ)
		}
		if r.Zh == "" || r.En == "" || r.Body() == nil {
			t.Errorf("%s is incomplete", typ)
		}
	}
	if _, err := Machines[KindLicence].Next(Cancelled, LicenceResume); AsError(err).Code != CodeTransition {
		t.Error(err)
	}
	for typ := range ownerActs {
		if _, ok := Types[typ]; !ok {
			t.Errorf("%s acts for nobody", typ)
		}
	}
}
