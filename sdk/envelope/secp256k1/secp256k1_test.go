package secp256k1

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The digest, signature and key that go-ethereum's own tests use.
func TestEthereumVector(t *testing.T) {
	digest := [32]byte(unhex(t, "ce0677bb30baa8cf067c88db9811f4333d131bf8bcf12fe7065d211dce971008"))
	sig := unhex(t, "90f27b8b488db00b00606796d2987f6a5f59ae62ea05effe84fef5b8b0e54998"+
		"4a691139ad57a3f0b906637673aa2f63d1f55cb1a69199d4009eea23ceaddc93")
	pub, err := ParsePublic(unhex(t, "04e32df42865e97135acfb65f3bae71bdc86f4d49150ad6a440b6f15878109880a"+
		"0a2b2667f7e725ceea70c673093bf67663e0312623c8e091b13cf2c0f11ef652"))
	if err != nil {
		t.Fatal(err)
	}
	if !pub.Verify(digest, sig) {
		t.Error("refused")
	}
	digest[0] ^= 1
	if pub.Verify(digest, sig) {
		t.Error("another digest verifies")
	}
}

func TestKey(t *testing.T) {
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParsePrivate(k.Bytes())
	if err != nil || back.Public() != k.Public() {
		t.Fatalf("another key came back: %v", err)
	}
	pub, err := ParsePublic(k.Public().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	digest := [32]byte{1, 2, 3}
	a, err := k.Sign(digest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := back.Sign(digest)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("RFC 6979 nonces give one signature a digest")
	}
	if !pub.Verify(digest, a) {
		t.Error("refused")
	}
}

func TestRefused(t *testing.T) {
	order := unhex(t, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
	for _, bad := range [][]byte{nil, make([]byte, 32), order, order[:31], append(order, 0)} {
		if _, err := ParsePrivate(bad); !errors.Is(err, ErrPrivate) {
			t.Errorf("private %x: %v", bad, err)
		}
	}
	for _, bad := range [][]byte{nil, {0}, make([]byte, 65), append([]byte{4}, make([]byte, 64)...)} {
		if _, err := ParsePublic(bad); !errors.Is(err, ErrPublic) {
			t.Errorf("public %x: %v", bad, err)
		}
	}
	if (PublicKey{}).Verify([32]byte{}, make([]byte, 64)) {
		t.Error("the zero key verifies")
	}
}
