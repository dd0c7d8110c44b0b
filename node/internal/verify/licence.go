package verify

import (
	"encoding/base64"
	"slices"
	"sync/atomic"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// shownHistory is how many of a record's latest versions a verdict shows.
const shownHistory = 50

// maxVersions bounds the versions that a judgement reads. The contract knows no such bound; a licence
// beyond it is judged as not readable rather than wrongly.
const maxVersions = 10_000

// licence is a licence as one snapshot has it, decoded. It is immutable but for the signatures.
type licence struct {
	view     *model.View
	versions []model.Version      // oldest first
	history  []model.HistoryEntry // the latest ones, newest last
	signed   []signature          // by version
	asOf     uint64               // position of the snapshot that it was read from
	size     int
}

// signature is what is known of the signature on the value that a version set. That a key verifies it, and
// that it stood in the registry at the version's leaf, cannot change.
type signature struct {
	position uint64
	agency   model.AgencyID
	result   atomic.Int32 // 0 unknown, 1 good, 2 bad, 3 no key
}

const (
	sigGood = 1 + iota
	sigBad
	sigNoKey
)

// licence reads a licence, through the cache; nil where there is none.
func (a *asking) licence(id model.RecordID) (*licence, error) {
	if l := a.s.cache.get(id, a.position); l != nil {
		return l, nil
	}
	view, err := a.snap.View(model.KindLicence, id)
	if err != nil || view == nil {
		return nil, err
	}
	history, err := a.snap.History(model.KindLicence, id, 0, maxVersions)
	if err != nil {
		return nil, err
	}
	if uint64(len(history)) != view.Version {
		return nil, model.E(model.CodeInternal).With("licence %s has %d versions, %d can be read", id, view.Version, len(history))
	}
	slices.Reverse(history)
	l := &licence{view: view, versions: make([]model.Version, len(history)), signed: make([]signature, len(history)), asOf: a.position}
	l.size = 512 + len(view.Public)
	for i := range history {
		h := &history[i]
		if l.versions[i], err = model.LicenceVersion(h.Type, h.Time, h.State, h.Body); err != nil {
			return nil, err
		}
		l.signed[i].position, l.signed[i].agency = h.Position, h.Agency
		l.size += 512 + 2*len(h.Body) // bodies as they are and decoded
	}
	l.history = history[max(0, len(history)-shownHistory):]
	a.s.cache.put(id, l, a.generation)
	return l, nil
}

// signature checks the signature on the face that the judgement rests on.
func (a *asking) signature(l *licence, j model.Judgement) (model.Judgement, error) {
	for i := range l.versions {
		if l.versions[i].Value != j.Value {
			continue
		}
		result := l.signed[i].result.Load()
		if result == 0 {
			r, err := a.check(&l.signed[i], j.Value)
			if err != nil {
				return j, err
			}
			l.signed[i].result.Store(r)
			result = r
		}
		switch result {
		case sigGood:
			return j, nil
		case sigNoKey:
			j.Word, j.Reason, j.Since = model.NotValid, model.ReasonSignatureUnknown, ""
			return j, nil
		}
		break
	}
	j.Word, j.Reason, j.Since = model.NotValid, model.ReasonSignature, ""
	return j, nil
}

// check verifies the licence's signature under the key that the registry listed when the value was set.
func (a *asking) check(s *signature, v *model.Licence) (int32, error) {
	if v.Signature == nil {
		return sigNoKey, nil
	}
	alg, public, ok, err := a.snap.KeyAt(s.agency, v.Signature.Key, s.position)
	if err != nil {
		return 0, err
	}
	if !ok || alg != v.Signature.Alg {
		return sigNoKey, nil
	}
	if known := a.s.signatures.get(s.position, alg, public); known != 0 {
		return known, nil
	}
	message, err := v.SigningBytes()
	if err != nil {
		return 0, err
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(v.Signature.Value)
	result := int32(sigGood)
	if err != nil || a.s.cfg.Check(alg, public, message, raw) != nil {
		result = sigBad
	}
	a.s.signatures.put(s.position, alg, string(public), result)
	return result, nil
}
