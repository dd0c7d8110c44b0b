package verify_test

import (
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/verify"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// counting is a service that keeps no licence and counts the signatures that it verifies.
func counting(r *rig, checked *int) *verify.Service {
	return verify.New(verify.Config{
		Snapshot: func() verify.Snapshot { return r.store.Snapshot() },
		Check: func(alg string, public, message, signature []byte) error {
			*checked++
			return envelope.Verify(envelope.Alg(alg), public, message, signature)
		},
		Age: func() time.Duration { return 0 }, Behind: func() bool { return false }, Clock: func() time.Time { return noon }, CacheBytes: 1,
	})
}

func TestASignatureIsVerifiedOnce(t *testing.T) {
	r := newRig(t)
	r.issue(1, nil)
	bad := r.licence(2, nil)
	bad.Signature.Value = r.licence(3, nil).Signature.Value
	r.submit(operation(model.LicenceIssue, 2, 1, noon, model.IssueBody{Value: bad}))
	checked := 0
	s := counting(r, &checked)
	for range 3 {
		if v := s.Verify(t.Context(), []model.Query{{Record: record(1)}})[0]; v.Verdict != model.Valid {
			t.Errorf("signed: %s %s", v.Verdict, v.Reason)
		}
		if v := s.Verify(t.Context(), []model.Query{{Record: record(2)}})[0]; v.Verdict != model.NotValid || v.Reason != model.ReasonSignature {
			t.Errorf("signed badly: %s %s", v.Verdict, v.Reason)
		}
	}
	if checked != 2 {
		t.Errorf("%d signatures verified for two licences", checked)
	}
}

// Vouching holds for a leaf and a key, and for nothing else.
func TestVouch(t *testing.T) {
	r := newRig(t)
	bad := r.licence(1, nil)
	bad.Signature.Value = r.licence(2, nil).Signature.Value
	r.submit(operation(model.LicenceIssue, 1, 1, noon, model.IssueBody{Value: bad}))
	position := r.store.Position() - 1
	signer := r.signers["bj-scjg-1"]
	alg, public := string(signer.Alg()), string(signer.Public())
	for name, c := range map[string]struct {
		position    uint64
		alg, public string
		want        model.Word
	}{
		"another leaf":      {position + 1, alg, public, model.NotValid},
		"another key":       {position, alg, "\x04" + public[1:64] + "x", model.NotValid},
		"another algorithm": {position, "SM2", public, model.NotValid},
		"this":              {position, alg, public, model.Valid},
	} {
		checked := 0
		s := counting(r, &checked)
		s.Vouch(c.position, c.alg, c.public)
		v := s.Verify(t.Context(), []model.Query{{Record: record(1)}})[0]
		if v.Verdict != c.want || (checked == 0) != (c.want == model.Valid) {
			t.Errorf("%s: %s %s, %d verified", name, v.Verdict, v.Reason, checked)
		}
	}
}
