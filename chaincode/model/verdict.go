package model

import (
	"encoding/json"
)

// Word is the word of a verdict.
type Word string

// The four verdicts. Unknown is never valid.
const (
	Valid        Word = "valid"        // 有效
	NotValid     Word = "invalid"      // 无效
	Undetermined Word = "undetermined" // 无法判定
	Stale        Word = "stale"        // 数据过时
)

// Reason says why; the table reasons has its sentences and the check that decides by it.
type Reason string

// Reasons of verdicts on licences.
const (
	ReasonInForce          Reason = "in_force"
	ReasonNotFound         Reason = "not_found"
	ReasonBehind           Reason = "behind_head"
	ReasonDuplicate        Reason = "duplicate_number"
	ReasonNotYetIssued     Reason = "not_yet_issued"
	ReasonNotYetValid      Reason = "not_yet_valid"
	ReasonExpired          Reason = "expired"
	ReasonSuperseded       Reason = "superseded"
	ReasonSaltNeeded       Reason = "salt_needed"
	ReasonHolderMismatch   Reason = "holder_mismatch"
	ReasonSignature        Reason = "signature_invalid"
	ReasonSignatureUnknown Reason = "signature_unchecked"
	ReasonAge              Reason = "data_too_old"
	ReasonLegacy           Reason = "legacy_unchecked"
)

type reasonText struct{ check, zh, en string }

var reasons = map[Reason]reasonText{
	ReasonInForce:          {"all", "证照有效", "the licence is in force"},
	ReasonNotFound:         {"exists", "账本上没有此证照", "no such licence on the ledger"},
	ReasonBehind:           {"exists", "本节点数据落后于账本，且未找到此证照", "not found here, and this node is behind the ledger"},
	ReasonDuplicate:        {"unique_number", "有多条记录使用同一证照编号", "more than one record claims this number"},
	ReasonNotYetIssued:     {"state", "该日尚未签发", "not yet issued on that day"},
	ReasonNotYetValid:      {"dates", "尚未到有效期起始日", "its validity has not begun"},
	ReasonExpired:          {"dates", "已过有效期", "its validity has ended"},
	ReasonSuperseded:       {"identifier_version", "所出示的版本在该日不是现行版本", "the version presented is not the one in force on that day"},
	ReasonSaltNeeded:       {"holder", "个人证照须出示随证的验证码（盐值）方可判定", "a person's licence needs the salt that comes with it"},
	ReasonHolderMismatch:   {"holder", "出示的持证主体信息与账本不符", "what was presented of the holder is not what the ledger commits to"},
	ReasonSignature:        {"signature", "签章验证不通过", "the licence's signature does not verify"},
	ReasonSignatureUnknown: {"signature", "签章密钥不在登记簿内，无法验证", "the signing key is not in the registry"},
	ReasonAge:              {"freshness", "本节点已超过 10 分钟未确认账本最新状态", "this node has not confirmed the ledger's head for over 10 minutes"},
	ReasonLegacy:           {"legacy", "旧数据迁入，持证主体代码未通过校验，待发证机关更正", "taken over from an older list with a holder's code that does not check; the issuer has yet to correct it"},
	Reason(Suspended):      {"state", "证照已暂停", "the licence is suspended"},
	Reason(Dormant):        {"state", "持证主体已歇业", "the holder is dormant"},
	Reason(Rescinded):      {"state", "证照已撤销", "the licence has been rescinded"},
	Reason(Withdrawn):      {"state", "证照已撤回", "the licence has been withdrawn"},
	Reason(PenaltyRevoked): {"state", "证照已吊销", "the licence has been revoked as a penalty"},
	Reason(Cancelled):      {"state", "证照已注销", "the licence has been cancelled"},
	Reason(VoidLost):       {"state", "证照已遗失作废", "the licence is void as lost"},
}

// Check names the check that decides by a reason.
func (r Reason) Check() string { return reasons[r].check }

// Zh and En are the reason's sentences.
func (r Reason) Zh() string { return reasons[r].zh }

// En is the English sentence.
func (r Reason) En() string { return reasons[r].en }

// Judgement is a verdict on one licence at one day as known at one day.
type Judgement struct {
	Word   Word
	Reason Reason
	Since  Date     // first day on which the reason holds, where there is one
	State  State    // on that day
	Value  *Licence // the face in force on that day, nil if none
}

// Version is one version of a licence as the judgement needs it.
type Version struct {
	Type  Type
	Time  Time
	State State
	Act   ActBody // acts and amendments
	How   AmendKind
	Value *Licence // issue, amend, renew
}

// LicenceVersion reads a version from its operation's body. The body comes from this node's own records.
func LicenceVersion(t Type, at Time, state State, body json.RawMessage) (Version, error) {
	v := Version{Type: t, Time: at, State: state}
	var b struct { // what all bodies of licence operations hold
		ActBody
		How      AmendKind       `json:"how"`
		Previous json.RawMessage `json:"previous"`
		To       AgencyID        `json:"to"`
		Under    RecordID        `json:"under"`
		Value    *Licence        `json:"value"`
	}
	if err := DecodeCanonical(body, &b); err != nil {
		return v, err
	}
	v.Act, v.How, v.Value = b.ActBody, b.How, b.Value
	return v, nil
}

// Judge decides state and dates of a licence on day at, from the versions recorded up to the end of day
// knownAt. presented is the identifier that was shown, "" for none.
//
// Legal effect and recording are two times: an act counts from its effective day, whenever it was
// recorded, if it was recorded by knownAt. A correction (更正) holds from the start of what it corrects, and
// the dates that it rights are righted in the faces before, too; a change (变更) and a renewal hold from
// their effective day. Rescission from the start leaves no valid day.
func Judge(versions []Version, at, knownAt Date, presented LicenceID) Judgement {
	type span struct {
		from  Date
		state State
	}
	type face struct {
		begin Date
		value *Licence
		dates
	}
	var states []span
	var faces []face
	var void bool
	for _, v := range versions {
		if v.Time.Date() > knownAt {
			break
		}
		switch {
		case v.Type == LicenceIssue && v.Value != nil:
			states = append(states, span{v.Value.IssuedOn, InForce})
			faces = append(faces, face{v.Value.IssuedOn, v.Value, v.Value.dates()})
			continue
		case len(faces) == 0: // a history begins with the issue
			return Judgement{Word: Undetermined, Reason: ReasonBehind}
		case v.Type == LicenceAmend && v.How == Correct:
			// What was wrong was wrong from the start: an earlier face shows the same dates. Those that the
			// correction leaves may differ rightly, as a renewal's end does from that of the term before.
			last := len(faces) - 1
			wrong, right := faces[last].dates, v.Value.dates()
			for i := range faces[:last] {
				faces[i].right(wrong, right)
			}
			faces[last].value, faces[last].dates = v.Value, right
			// The day of issue may be what was wrong.
			faces[0].begin, states[0].from = faces[0].issued, faces[0].issued
			continue
		case v.Type == LicenceTransfer:
			continue
		case v.Value != nil:
			faces = append(faces, face{v.Act.Effective, v.Value, v.Value.dates()})
			continue
		}
		void = void || v.Act.FromStart
		// The later act rules from its effective day on, whatever an earlier one had set for those days.
		for len(states) > 1 && states[len(states)-1].from >= v.Act.Effective {
			states = states[:len(states)-1]
		}
		states = append(states, span{v.Act.Effective, v.State})
	}
	if len(states) == 0 {
		return Judgement{Word: NotValid, Reason: ReasonNotYetIssued}
	}
	j := Judgement{Word: Valid, Reason: ReasonInForce}
	var d dates
	for _, f := range faces {
		if f.begin <= at {
			j.Value, d = f.value, f.dates
		}
	}
	if void {
		j.State = Rescinded
		return j.not(Reason(Rescinded), faces[0].dates.from)
	}
	for _, s := range states {
		if s.from <= at {
			j.State, j.Since = s.state, s.from
		}
	}
	switch {
	case j.State == "" || j.Value == nil:
		return j.not(ReasonNotYetIssued, "")
	case j.State != InForce:
		return j.not(Reason(j.State), j.Since)
	case presented != "" && presented != j.Value.Identifier:
		return j.not(ReasonSuperseded, "")
	case at < d.from:
		return j.not(ReasonNotYetValid, "")
	case d.until != "" && at > d.until:
		return j.not(ReasonExpired, DateFromDays(d.until.Days()+1))
	}
	j.Since = d.from
	if j.Value.Legacy != "" {
		j.Word, j.Reason = Undetermined, ReasonLegacy
	}
	return j
}

// dates are those of a face by which it is judged: as it states them, or as a correction of a later face
// righted them.
type dates struct{ issued, from, until Date }

func (l *Licence) dates() dates { return dates{l.IssuedOn, l.ValidFrom, l.ValidUntil} }

// right takes over what a correction changed. A date that was never the wrong one is another's and stays, as
// the end of the term before a renewal.
func (d *dates) right(wrong, right dates) {
	for _, x := range []struct {
		of         *Date
		was, right Date
	}{{&d.issued, wrong.issued, right.issued}, {&d.from, wrong.from, right.from}, {&d.until, wrong.until, right.until}} {
		if *x.of == x.was {
			*x.of = x.right
		}
	}
}

func (j Judgement) not(r Reason, since Date) Judgement {
	j.Word, j.Reason, j.Since = NotValid, r, since
	return j
}

// JudgeHolder adds what was presented of a person's holder: without an opening of the holder's code the
// verdict is undetermined, with one that does not open the commitment invalid.
func (j Judgement) JudgeHolder(openings map[string]Opening) Judgement {
	if j.Word != Valid || j.Value == nil {
		return j
	}
	for field, o := range openings {
		c, ok := j.Value.Commitments[field]
		if !ok || !o.Opens(field, c) {
			return j.not(ReasonHolderMismatch, "")
		}
	}
	if _, ok := openings[FieldHolderCode]; !ok && j.Value.HolderKind.Personal() {
		j.Word, j.Reason = Undetermined, ReasonSaltNeeded
	}
	return j
}
