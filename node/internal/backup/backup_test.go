package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// held collects what a tape gives.
type held struct {
	files map[string]string
	pairs map[string][]string
}

func (h *held) Begin(Info) error {
	h.files, h.pairs = map[string]string{}, map[string][]string{}
	return nil
}

func (h *held) File(name string, _, size int64, r io.Reader) error {
	raw, err := io.ReadAll(r)
	if int64(len(raw)) != size {
		return fmt.Errorf("%s has %d bytes, not %d", name, len(raw), size)
	}
	h.files[name] = string(raw)
	return err
}

func (h *held) Pair(name string, key, value []byte) error {
	h.pairs[name] = append(h.pairs[name], string(key)+"="+fmt.Sprint(len(value)))
	return nil
}

func tape(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Info{Created: time.Unix(1_790_000_000, 0), Node: "beijing", Stores: map[string]int{"outbox": 1}})
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("v"), 3<<20)
	if err := w.Database("outbox", func(yield func(k, v []byte) error) error {
		return errors.Join(yield([]byte("a"), nil), yield([]byte("b"), big), yield([]byte("c"), big), yield(nil, []byte("d")))
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.Database("empty", func(func(k, v []byte) error) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := w.File("keys/a/b.pem", 0o600, 3, strings.NewReader("key and more")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(Manifest{Blocks: 7}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func seal(t testing.TB, k Key, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	s, err := Seal(&b, k)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(plain); i += 10_007 {
		if _, err := s.Write(plain[i:min(len(plain), i+10_007)]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(k Key, sealed []byte) ([]byte, error) {
	r, err := Open(bytes.NewReader(sealed), k)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestTape(t *testing.T) {
	raw := tape(t)
	var h held
	info, m, err := Read(bytes.NewReader(raw), &h)
	if err != nil || info.Node != "beijing" || m.Blocks != 7 || h.files["keys/a/b.pem"] != "key" {
		t.Fatal(info, m, h.files, err)
	}
	if got := h.pairs["outbox"]; !slices.Equal(got, []string{"a=0", "b=3145728", "c=3145728", "=1"}) {
		t.Errorf("%v", got)
	}
	for _, n := range []int{0, 100, 512, 1024, len(raw) / 2, len(raw) - 1500} {
		if _, _, err := Read(bytes.NewReader(raw[:n]), &h); !errors.Is(err, ErrChanged) && !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	for at := 0; at < len(raw); at += 600_001 {
		changed := slices.Clone(raw)
		changed[at] ^= 1
		if _, _, err := Read(bytes.NewReader(changed), &h); err == nil {
			t.Errorf("byte %d changed, and nobody noticed", at)
		}
	}
	var b bytes.Buffer
	w, err := NewWriter(&b, Info{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.File("short", 0o600, 10, strings.NewReader("x")); err == nil {
		t.Error("a file that shrank")
	}
}

func TestNamesStayBelow(t *testing.T) {
	for _, name := range []string{"../x", "/etc/passwd", "a/../../b", "", ".", "..", "a//b", "a\\b", "a\x00", "...000000.kv", "..000000.kv"} {
		var b bytes.Buffer
		w, err := NewWriter(&b, Info{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.File(name, 0o600, 1, strings.NewReader("x")); err != nil {
			continue // tar itself refuses some
		}
		if err := w.Close(Manifest{}); err != nil {
			t.Fatal(err)
		}
		var h held
		if _, _, err := Read(&b, &h); err == nil {
			t.Errorf("%q was taken: %v", name, h.files)
		}
	}
}

func TestSeal(t *testing.T) {
	phrase, err := Passphrase("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Passphrase("short"); err == nil {
		t.Error("a short passphrase")
	}
	recipient, secret, err := NewPair()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ParseKey(recipient + "\n")
	if err != nil {
		t.Fatal(err)
	}
	priv, err := ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	_, another, _ := NewPair()
	stranger, err := ParseKey(another)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "zlb_", "zlbs_!", "x", "zlb_AAAA"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
	if _, err := Seal(io.Discard, priv); err == nil {
		t.Error("a secret seals")
	}
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 5} {
		plain := bytes.Repeat([]byte{7}, size)
		pairs := map[*Key]Key{&pub: priv}
		if size == chunk { // deriving a key from a passphrase takes its time
			pairs[&phrase] = phrase
		}
		for seals, opens := range pairs {
			sealed := seal(t, *seals, plain)
			if got, err := open(opens, sealed); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if _, err := open(stranger, sealed); !errors.Is(err, ErrKey) {
				t.Errorf("a stranger: %v", err)
			}
			if size == 0 {
				continue
			}
			for _, n := range []int{len(sealed) - 1, len(sealed) - 17} { // within the last chunk, whatever its length
				if _, err := open(opens, sealed[:n]); !errors.Is(err, ErrChanged) {
					t.Errorf("%d of %d bytes: %v", n, size, err)
				}
			}
			if _, err := open(opens, append(slices.Clone(sealed), 0)); !errors.Is(err, ErrChanged) {
				t.Errorf("a byte more: %v", err)
			}
		}
	}
	// Whole chunks left out at the end or put in another order, and another header.
	sealed := seal(t, pub, bytes.Repeat([]byte{7}, 3*chunk))
	start := bytes.IndexByte(sealed[len(magic):], '\n') + len(magic) + 1
	const step = chunk + 16
	if _, err := open(priv, sealed[:start+step]); !errors.Is(err, ErrChanged) {
		t.Errorf("cut after a chunk: %v", err)
	}
	swapped := slices.Clone(sealed)
	copy(swapped[start:], sealed[start+step:start+2*step])
	copy(swapped[start+step:], sealed[start:start+step])
	if _, err := open(priv, swapped); !errors.Is(err, ErrChanged) {
		t.Errorf("chunks in another order: %v", err)
	}
	for at := 0; at < start; at++ {
		changed := slices.Clone(sealed)
		changed[at] ^= 1
		if _, err := open(priv, changed); err == nil {
			t.Errorf("byte %d of the header changed, and nobody noticed", at)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(tape(f)[:4096])
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var h held
		if _, m, err := Read(bytes.NewReader(raw), &h); err == nil && len(m.Entries) == 0 {
			t.Error("an empty tape is whole")
		}
	})
}

func FuzzOpen(f *testing.F) {
	_, secret, err := NewPair()
	if err != nil {
		f.Fatal(err)
	}
	k, err := ParseKey(secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(magic + `{"kind":"x25519","wrapped":"AAAA"}` + "\nxxxxxxxxxxxxxxxxxxxxxxx"))
	f.Add([]byte(magic + `{"kind":"passphrase","salt":"AAAA","iterations":1,"wrapped":""}` + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if plain, err := open(k, raw); err == nil {
			t.Errorf("%d bytes for somebody else were opened", len(plain))
		}
	})
}
