package auth

import (
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Role is what a principal is signed in to do. A principal may hold several.
type Role string

// The roles. The three administrators (三员) watch one another: none of them can write a licence, and none
// can do another's work.
const (
	Drafter        Role = "drafter"         // prepares and sends licence operations (经办)
	Approver       Role = "approver"        // decides, registry matters included (复核)
	Verifier       Role = "verifier"        // verifies what is presented (用证)
	Auditor        Role = "auditor"         // reads everything that happened, changes nothing (审计)
	SystemAdmin    Role = "system-admin"    // runs the node (系统管理员)
	SecurityAdmin  Role = "security-admin"  // people, keys and rights (安全保密管理员)
	AuditAdmin     Role = "audit-admin"     // watches the administrators (安全审计员)
	TradeParty     Role = "trade-party"     // a broker, importer, carrier, bank … (贸易主体)
	CustomsOfficer Role = "customs-officer" // customs (关员)
	DataOwner      Role = "data-owner"      // publishes catalogues, grants data (数据提供方)
)

// Roles lists every role in a fixed order.
var Roles = []Role{
	Drafter, Approver, Verifier, Auditor, SystemAdmin, SecurityAdmin, AuditAdmin, TradeParty, CustomsOfficer, DataOwner,
}

// RoleNames are the roles' names for people, Chinese and English.
var RoleNames = map[Role][2]string{
	Drafter: {"经办", "drafter"}, Approver: {"复核", "approver"}, Verifier: {"用证", "verifier"}, Auditor: {"审计", "auditor"},
	SystemAdmin: {"系统管理员", "system administrator"}, SecurityAdmin: {"安全保密管理员", "security administrator"},
	AuditAdmin: {"安全审计员", "audit administrator"}, TradeParty: {"贸易主体", "trade party"},
	CustomsOfficer: {"关员", "customs officer"}, DataOwner: {"数据提供方", "data owner"},
}

var administrators = []Role{SystemAdmin, SecurityAdmin, AuditAdmin}

// Administers reports whether r is one of the three administrators.
func (r Role) Administers() bool { return slices.Contains(administrators, r) }

// ofParties are the roles that the people of a hosted party may hold.
var ofParties = []Role{TradeParty, DataOwner}

// checkRoles finds what cannot be a set of roles: none, too many, an unknown or a repeated one.
func checkRoles(in []Role) error {
	if len(in) == 0 {
		return model.E(model.CodeMissingField, "roles")
	}
	for i, r := range in {
		if !slices.Contains(Roles, r) {
			var names []string
			for _, known := range Roles {
				names = append(names, string(known))
			}
			return model.E(model.CodeBadValue, "roles").OneOf(names...)
		}
		if slices.Contains(in[:i], r) {
			return model.E(model.CodeBadValue, "roles").With("twice: %s", r)
		}
	}
	return nil
}

// checkApart refuses roles that one person must not hold together: each of the three administrators stands alone.
func checkApart(in []Role) error {
	for _, r := range in {
		if slices.Contains(administrators, r) && len(in) > 1 {
			return model.E(model.CodeRolesIncompatible, "roles").With("%s + …", r)
		}
	}
	return nil
}
