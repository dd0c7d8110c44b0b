package model

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// scannable are bodies that scan must take by itself, by what they have beside the rest.
func scannable() map[string]*IssueBody {
	person := sampleIssue(2)
	person.Value.HolderKind, person.Value.HolderCode, person.Value.HolderName = HolderPerson, "", ""
	person.Value.Commitments = map[string]Digest{FieldHolderCode: DigestOf([]byte("a")), FieldHolderName: DigestOf([]byte("b"))}
	file := sampleIssue(3)
	file.Value.File = &FileDigest{Sealed: true, SHA256: DigestOf([]byte("c")), SM3: DigestOf([]byte("d"))}
	unsigned := sampleIssue(4)
	unsigned.Value.Signature = nil
	bare := sampleIssue(5)
	bare.Value.Face = map[string]any{}
	under := sampleIssue(6)
	under.Under, under.Value.ValidUntil = "bj-scjg.7", ""
	legacy := sampleIssue(7)
	legacy.Value.HolderCode, legacy.Value.Legacy = "", "9111010500000000XX"
	return map[string]*IssueBody{"legacy": legacy, "enterprise": sampleIssue(1), "person": person, "file": file, "unsigned": unsigned, "no face": bare, "under": under}
}

// agree fails if scan takes a body that the general decoder refuses or reads otherwise.
func agree(t *testing.T, raw []byte) (taken bool) {
	t.Helper()
	var fast, general IssueBody
	if !fast.scan(raw) {
		return false
	}
	if err := decodeLedger(raw, &general); err != nil {
		t.Fatalf("scan takes what the decoder refuses (%v): %s", err, raw)
	}
	if !reflect.DeepEqual(fast, general) {
		t.Fatalf("%s\nscan    %+v\ndecoder %+v", raw, fast, general)
	}
	return true
}

func TestScanIssue(t *testing.T) {
	for name, b := range scannable() {
		raw, err := b.EncodeBody()
		if err != nil {
			t.Fatal(err)
		}
		if !agree(t, raw) {
			t.Errorf("%s: left to the general decoder: %s", name, raw)
		}
		// Whatever one changes, both read the same or the general decoder decides.
		taken, parts := 0, strings.SplitAfter(string(raw), ",")
		for range 20_000 {
			bad := []byte(string(raw))
			switch rand.IntN(4) {
			case 0:
				bad[rand.IntN(len(bad))] = byte(" 0a\"\\{}[],:-Z\xe4"[rand.IntN(14)])
			case 1:
				from := rand.IntN(len(bad))
				bad = append(bad[:from:from], bad[from+rand.IntN(len(bad)-from):]...)
			case 2:
				i := rand.IntN(len(parts))
				bad = []byte(strings.Join(parts[:i], "") + strings.Join(parts[min(i+1, len(parts)):], ""))
			case 3:
				i, j := rand.IntN(len(parts)), rand.IntN(len(parts))
				bad = []byte(strings.Join(parts[:i], "") + parts[j] + strings.Join(parts[i:], ""))
			}
			if IsCanonical(bad) && agree(t, bad) {
				taken++
			}
		}
		if taken == 0 {
			t.Errorf("%s: no changed body was taken: the changes show nothing", name)
		}
	}
	// What scan leaves: escapes, and face fields that are no texts.
	for _, change := range [][2]string{{`软件开发`, `软件\"开发`}, {`"1000万元人民币"`, `1000`}, {`"1000万元人民币"`, `["a"]`}} {
		raw, err := sampleIssue(1).EncodeBody()
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(raw), change[0], change[1], 1)
		var b, general IssueBody
		if changed == string(raw) || b.scan([]byte(changed)) {
			t.Errorf("%s: %s", change[1], changed)
		}
		if err := decodeLedger([]byte(changed), &general); err != nil {
			t.Errorf("%s: the general decoder: %v", change[1], err)
		}
	}
}

func FuzzScanIssue(f *testing.F) {
	for _, b := range scannable() {
		raw, err := b.EncodeBody()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if IsCanonical(raw) {
			agree(t, raw)
		}
	})
}
