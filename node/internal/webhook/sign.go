package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// secretPrefix begins a symmetric secret of Standard Webhooks.
const secretPrefix = "whsec_"

// newSecret draws 32 bytes (24 to 64 are allowed).
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return secretPrefix + base64.StdEncoding.EncodeToString(b[:])
}

// signatures is the webhook-signature header: one "v1,…" for each secret in force, so that the receiver may change from
// the old to the new one when it likes. Each is HMAC-SHA256 over "id.timestamp.body".
func signatures(secrets []string, id string, at time.Time, body []byte) (string, error) {
	var out []string
	for _, s := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, secretPrefix))
		if err != nil || len(key) < 24 || len(key) > 64 {
			return "", errors.New("webhook: a secret is damaged")
		}
		m := hmac.New(sha256.New, key)
		m.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		m.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	}
	return strings.Join(out, " "), nil
}
