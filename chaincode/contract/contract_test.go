package contract_test

import (
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

var now = time.Date(2026, 6, 1, 2, 0, 0, 0, time.UTC)

func issue(l *contracttest.Ledger, agency model.AgencyID, serial int) model.Operation {
	return contracttest.Op(agency, model.LicenceIssue, model.KindLicence, model.NewRecordID(agency, uint64(serial)), 1, now,
		model.IssueBody{Value: contracttest.Licence(l.Genesis, agency, serial)})
}

func act(agency model.AgencyID, t model.Type, record model.RecordID, version uint64) model.Operation {
	return contracttest.Op(agency, t, model.KindLicence, record, version, now, contracttest.Act("2026-06-01"))
}

// TestLicenceLife checks the refusals around one licence, each by its code.
func TestLicenceLife(t *testing.T) {
	tests := []struct {
		name string
		ops  func(l *contracttest.Ledger) []model.Operation
		want model.Code // of the last operation; "" is accepted
	}{
		{"issuer issues", func(l *contracttest.Ledger) []model.Operation {
			return []model.Operation{issue(l, "bj-scjg", 1)}
		}, ""},
		{"issued twice", func(l *contracttest.Ledger) []model.Operation {
			return []model.Operation{issue(l, "bj-scjg", 1), issue(l, "bj-scjg", 1)}
		}, model.CodeVersionConflict},
		{"owner cancels", func(l *contracttest.Ledger) []model.Operation {
			return []model.Operation{issue(l, "bj-scjg", 1), act("bj-scjg", model.LicenceCancel, "bj-scjg.1", 2)}
		}, ""},
		{"stranger cancels", func(l *contracttest.Ledger) []model.Operation {
			return []model.Operation{issue(l, "bj-scjg", 1), act("he-scjg", model.LicenceCancel, "bj-scjg.1", 2)}
		}, model.CodeNotOwner},
		{"cancelled twice", func(l *contracttest.Ledger) []model.Operation {
			return []model.Operation{issue(l, "bj-scjg", 1), act("bj-scjg", model.LicenceCancel, "bj-scjg.1", 2), act("bj-scjg", model.LicenceCancel, "bj-scjg.1", 3)}
		}, model.CodeTransition},
		{"district issues without delegation", func(l *contracttest.Ledger) []model.Operation {
			return []model.Operation{issue(l, "bj-dc-scjg", 1)}
		}, model.CodeTypeNotPermitted},
		{"customs issues", func(l *contracttest.Ledger) []model.Operation {
			return []model.Operation{issue(l, "bj-customs", 1)}
		}, model.CodeNotIssuer},
		{"another's record id", func(l *contracttest.Ledger) []model.Operation {
			op := issue(l, "bj-scjg", 1)
			op.Record = "tj-scjg.1"
			return []model.Operation{op}
		}, model.CodeBadID},
		{"resume what is in force", func(l *contracttest.Ledger) []model.Operation {
			return []model.Operation{issue(l, "bj-scjg", 1), act("bj-scjg", model.LicenceResume, "bj-scjg.1", 2)}
		}, model.CodeTransition},
		{"time differs", func(l *contracttest.Ledger) []model.Operation {
			op := act("bj-scjg", model.LicenceCancel, "bj-scjg.1", 2)
			op.Time = model.TimeOf(now.Add(61 * time.Second))
			first := issue(l, "bj-scjg", 1)
			return []model.Operation{first, op}
		}, ""}, // in a call of its own the operation's time is the proposal's
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := contracttest.New()
			for i, op := range tt.ops(l) {
				_, r, err := l.Submit(op)
				if err != nil {
					t.Fatalf("operation %d: %v", i, err)
				}
				var got model.Code
				if len(r.Refused) > 0 {
					got = r.Refused[0].Code
				}
				want := model.Code("")
				if i == len(tt.ops(l))-1 {
					want = tt.want
				}
				if got != want {
					t.Fatalf("operation %d: got %q, want %q", i, got, want)
				}
			}
		})
	}
}

// TestRefusalWritesNothing: one refused operation in a call leaves the state as it was, and those around
// it are judged as if it were not there.
func TestRefusalWritesNothing(t *testing.T) {
	l := contracttest.New()
	before := l.State.Clone()
	a, bad, b := issue(l, "bj-scjg", 1), issue(l, "bj-scjg", 1), issue(l, "bj-scjg", 2)
	x, r, err := l.Submit(a, bad, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Writes) != 0 || len(r.Refused) != 1 || r.Refused[0].Index != 1 || r.Accepted != 2 {
		t.Fatalf("writes %d, response %+v", len(x.Writes), r)
	}
	if len(l.State) != len(before) {
		t.Fatal("state changed")
	}
	if _, r, err = l.Submit(a, b); err != nil || len(r.Refused) != 0 {
		t.Fatalf("%v %+v", err, r)
	}
}

// TestCallerMustActForAgency: the creator's organisation and common name decide, not what the operation says.
func TestCallerMustActForAgency(t *testing.T) {
	for _, c := range []struct {
		msp  model.MSPID
		cn   string
		want model.Code
	}{
		{"BeijingMSP", "beijing", ""}, {"BeijingMSP", "bj-scjg", ""},
		{"BeijingMSP", "bj-dc-scjg", model.CodeNotActingFor}, {"TianjinMSP", "beijing", model.CodeNotActingFor},
		{"HebeiMSP", "hebei", model.CodeNotActingFor}, {"OtherMSP", "bj-scjg", model.CodeNotActingFor},
	} {
		l := contracttest.New()
		_, r, err := l.SubmitAs(c.msp, c.cn, issue(l, "bj-scjg", 1))
		if got := code(err); got != c.want || len(r.Refused) > 0 {
			t.Errorf("%s/%s: got %q, want %q", c.msp, c.cn, got, c.want)
		}
	}
}

// TestPersonalIdentifierFailsTheProposal: the refusal is of the whole call, so it can never stand in a block.
func TestPersonalIdentifierFailsTheProposal(t *testing.T) {
	l := contracttest.New()
	op := issue(l, "bj-scjg", 1)
	v := contracttest.Licence(l.Genesis, "bj-scjg", 1)
	v.Face["scope"] = "联系人 11010519491231002X"
	op = contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, op.Record, 1, now, model.IssueBody{Value: v})
	if _, _, err := l.Submit(op); model.AsError(err).Code != model.CodePersonalIdentifier {
		t.Fatalf("got %v", err)
	}
}

func TestApprovals(t *testing.T) {
	l := contracttest.New()
	agency := model.Agency{ID: "he-bd", Msp: "HebeiMSP", Node: "hebei", NameZh: "保定市市场监督管理局", Region: "130600", Parent: "he-scjg",
		Roles: []model.Role{model.RoleIssuer}, USCC: contracttest.AgencyUSCC("130600", 99), Keys: []model.Key{}}
	raw, err := model.Canonical(agency)
	if err != nil {
		t.Fatal(err)
	}
	must := func(want model.Code, op model.Operation) {
		t.Helper()
		_, r, err := l.Submit(op)
		if err != nil {
			t.Fatal(err)
		}
		var got model.Code
		if len(r.Refused) > 0 {
			got = r.Refused[0].Code
		}
		if got != want {
			t.Fatalf("%s by %s: got %q, want %q", op.Type, op.Agency, got, want)
		}
	}
	id := model.NewRecordID("he-scjg", 1)
	content := model.ContentDigest(model.Admit, model.KindAgency, "he-bd", 1, raw)
	enact := contracttest.Op("he-scjg", model.Admit, model.KindAgency, "he-bd", 1, now, model.EnactBody{Proposal: id, Value: raw})
	approve := func(a model.AgencyID, version, registry uint64) model.Operation {
		return contracttest.Op(a, model.Approve, model.KindProposal, id, version, now, model.ApproveBody{Content: content, Registry: registry})
	}
	must(model.CodeProposalUnknown, enact)
	must("", contracttest.Op("he-scjg", model.Propose, model.KindProposal, id, 1, now,
		model.ProposeBody{Action: model.Admit, Kind: model.KindAgency, Record: "he-bd", Value: raw, Version: 1}))
	must(model.CodeApprovalsMissing, enact)
	must("", approve("he-scjg", 2, 1))
	must(model.CodeAlreadyApproved, approve("he-scjg", 3, 1))
	must(model.CodeRegistryChanged, approve("bj-scjg", 3, 7))
	must("", approve("bj-scjg", 3, 1))
	must(model.CodeApprovalsMissing, enact)
	must("", approve("tj-scjg", 4, 1))
	other := agency
	other.Region = "130000"
	otherRaw, _ := model.Canonical(other)
	must(model.CodeContentMismatch, contracttest.Op("he-scjg", model.Admit, model.KindAgency, "he-bd", 1, now, model.EnactBody{Proposal: id, Value: otherRaw}))
	must("", enact)
	must(model.CodeContentMismatch, contracttest.Op("he-scjg", model.Admit, model.KindAgency, "he-bd", 2, now, model.EnactBody{Proposal: id, Value: raw}))
}
