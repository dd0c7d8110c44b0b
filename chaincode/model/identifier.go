package model

import (
	"strconv"
	"strings"
)

// Identifier types hold only well-formed values: each has a Parse function, and decoding from JSON goes
// through it. The zero value means "absent" and encodes as "".

// USCC is a unified social credit code (统一社会信用代码, GB 32100-2015), 18 characters.
type USCC string

const usccAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

var usccWeights = [17]int{1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28}

// ParseUSCC checks length, alphabet and both check characters: the code's own and that of the organisation
// code in characters 9–17, which a code composed of two others would miss. The region part is not looked
// up: codes keep regions that have since left the table.
func ParseUSCC(s string) (USCC, error) {
	if len(s) != 18 {
		return "", E(CodeBadUSCC)
	}
	sum := 0
	for i := 0; i < 18; i++ {
		v := strings.IndexByte(usccAlphabet, s[i])
		if v < 0 {
			return "", E(CodeBadUSCC)
		}
		if i < 17 {
			sum += v * usccWeights[i]
		}
	}
	for i := 2; i < 8; i++ {
		if s[i] < '0' || s[i] > '9' {
			return "", E(CodeBadUSCC)
		}
	}
	if usccAlphabet[(31-sum%31)%31] != s[17] {
		return "", E(CodeBadUSCC)
	}
	if _, err := ParseOrganisationCode(s[8:17]); err != nil {
		return "", E(CodeBadUSCC)
	}
	return USCC(s), nil
}

// InventUSCC is a valid code for demonstrations and tests: prefix, then n in as many digits as make 16
// characters, then the check characters. A prefix of nine whose last is X, as in "91110105X", makes codes
// that are nobody's, since no organisation code in use begins so.
func InventUSCC(prefix string, n int) (USCC, error) {
	digits := strconv.Itoa(n)
	if n < 0 || len(prefix) < 8 || len(prefix)+len(digits) > 16 {
		return "", E(CodeBadUSCC)
	}
	body := prefix + strings.Repeat("0", 16-len(prefix)-len(digits)) + digits
	for i := 8; i < 16; i++ { // an organisation code has letters that a USCC has not
		if strings.IndexByte(usccAlphabet, body[i]) < 0 {
			return "", E(CodeBadUSCC)
		}
	}
	return USCCFrom(body + string(organisationCheck(body[8:])))
}

// USCCFrom completes the first 17 characters with their check character.
func USCCFrom(body string) (USCC, error) {
	if len(body) != 17 {
		return "", E(CodeBadUSCC)
	}
	for i := 0; i < len(usccAlphabet); i++ {
		if u, err := ParseUSCC(body + usccAlphabet[i:i+1]); err == nil {
			return u, nil
		}
	}
	return "", E(CodeBadUSCC)
}

// OrganisationCode is the GB 11714 code in characters 9–17 of the USCC.
func (u USCC) OrganisationCode() OrganisationCode {
	if len(u) != 18 {
		return ""
	}
	return OrganisationCode(u[8:17])
}

// Region is the GB/T 2260 code in characters 3–8.
func (u USCC) Region() string {
	if len(u) != 18 {
		return ""
	}
	return string(u[2:8])
}

// UnmarshalText parses.
func (u *USCC) UnmarshalText(b []byte) (err error) { return parseInto(u, b, ParseUSCC) }

// OrganisationCode is a GB 11714 code, 9 characters without hyphen.
type OrganisationCode string

var orgWeights = [8]int{3, 7, 9, 10, 5, 8, 4, 2}

// ParseOrganisationCode checks alphabet and check character; one hyphen before the last is accepted.
func ParseOrganisationCode(s string) (OrganisationCode, error) {
	if len(s) == 10 && s[8] == '-' {
		s = s[:8] + s[9:]
	}
	if len(s) != 9 {
		return "", E(CodeBadOrgCode)
	}
	for i := 0; i < 8; i++ {
		if base36(s[i]) < 0 {
			return "", E(CodeBadOrgCode)
		}
	}
	if s[8] != organisationCheck(s) {
		return "", E(CodeBadOrgCode)
	}
	return OrganisationCode(s), nil
}

// organisationCheck is the check character of the eight that s begins with, which are in the alphabet.
func organisationCheck(s string) byte {
	sum := 0
	for i := 0; i < 8; i++ {
		sum += base36(s[i]) * orgWeights[i]
	}
	switch c := 11 - sum%11; c {
	case 10:
		return 'X'
	case 11:
		return '0'
	default:
		return byte('0' + c)
	}
}

// UnmarshalText parses.
func (o *OrganisationCode) UnmarshalText(b []byte) error {
	return parseInto(o, b, ParseOrganisationCode)
}

// CitizenID is a GB 11643 citizen identity number. It exists to be checked and committed to: it has no
// place in any public body, and a formatted value shows only its shape.
type CitizenID struct{ digits string }

var citizenWeights = [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

// ParseCitizenID checks length, date and check character; a lower-case x is accepted.
func ParseCitizenID(s string) (CitizenID, error) {
	s = strings.ToUpper(s)
	if len(s) != 18 || !citizenCheck([]byte(s)) {
		return CitizenID{}, E(CodeBadCitizenID)
	}
	if _, err := ParseDate(s[6:10] + "-" + s[10:12] + "-" + s[12:14]); err != nil {
		return CitizenID{}, E(CodeBadCitizenID)
	}
	return CitizenID{s}, nil
}

// Reveal returns the number, for computing or opening a commitment.
func (c CitizenID) Reveal() string { return c.digits }

// String never shows the number.
func (c CitizenID) String() string { return "[citizen id]" }

func citizenCheck(s []byte) bool {
	sum := 0
	for i := 0; i < 17; i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		sum += int(s[i]-'0') * citizenWeights[i]
	}
	return "10X98765432"[sum%11] == s[17]
}

// LicenceID is an e-licence identifier (电子证照标识, GB/T 36904):
// 1.2.156.3005.2.<type>.<issuer>.<serial>.<version>.<check>.
type LicenceID string

const licenceRoot = "1.2.156.3005.2."

// LicenceIDParts are the parts of an identifier.
type LicenceIDParts struct {
	Type    string // 21 characters: code of the defining authority and three more
	Issuer  string // code of the issuing authority, up to 18 characters
	Serial  string // 0-9A-Z
	Version int    // 1–999
}

// NewLicenceID composes an identifier with its check character.
func NewLicenceID(p LicenceIDParts) (LicenceID, error) {
	if p.Version < 1 || p.Version > 999 {
		return "", E(CodeBadIdentifier)
	}
	v := string([]byte{byte('0' + p.Version/100), byte('0' + p.Version/10%10), byte('0' + p.Version%10)})
	check, ok := mod37_36(p.Type + p.Issuer + p.Serial + v)
	if !ok {
		return "", E(CodeBadIdentifier)
	}
	return ParseLicenceID(licenceRoot + p.Type + "." + p.Issuer + "." + p.Serial + "." + v + "." + string(check))
}

// ParseLicenceID checks structure and check character (ISO 7064 hybrid MOD 37,36).
func ParseLicenceID(s string) (LicenceID, error) {
	p, ok := licenceParts(s)
	if !ok || p.Version == 0 {
		return "", E(CodeBadIdentifier)
	}
	check, ok := mod37_36(p.Type, p.Issuer, p.Serial, s[len(s)-5:len(s)-2])
	if !ok || check != s[len(s)-1] {
		return "", E(CodeBadIdentifier)
	}
	return LicenceID(s), nil
}

// Parts splits the identifier; zero for the empty one.
func (l LicenceID) Parts() LicenceIDParts {
	p, _ := licenceParts(string(l))
	return p
}

// licenceParts splits what has an identifier's structure, whatever its check character.
func licenceParts(s string) (LicenceIDParts, bool) {
	if len(s) > 128 || !strings.HasPrefix(s, licenceRoot) {
		return LicenceIDParts{}, false
	}
	var f [5]string
	rest := s[len(licenceRoot):]
	for i := range f {
		var more bool
		f[i], rest, more = strings.Cut(rest, ".")
		if more != (i < 4) {
			return LicenceIDParts{}, false
		}
	}
	if len(f[0]) != 21 || f[1] == "" || len(f[1]) > 18 || f[2] == "" || len(f[3]) != 3 || len(f[4]) != 1 {
		return LicenceIDParts{}, false
	}
	version := 0
	for i := 0; i < 3; i++ {
		c := f[3][i]
		if c < '0' || c > '9' {
			return LicenceIDParts{}, false
		}
		version = version*10 + int(c-'0')
	}
	return LicenceIDParts{Type: f[0], Issuer: f[1], Serial: f[2], Version: version}, true
}

// UnmarshalText parses.
func (l *LicenceID) UnmarshalText(b []byte) error { return parseInto(l, b, ParseLicenceID) }

func mod37_36(parts ...string) (byte, bool) {
	p := 36
	for _, s := range parts {
		for i := 0; i < len(s); i++ {
			v := base36(s[i])
			if v < 0 {
				return 0, false
			}
			if p = (p + v) % 36; p == 0 {
				p = 36
			}
			p = p * 2 % 37
		}
	}
	return "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(37-p)%36], true
}

func base36(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'Z':
		return int(c-'A') + 10
	}
	return -1
}

// TypeCode is a 21-character licence type code: an 18-character authority code and three more.
type TypeCode string

// ParseTypeCode checks length and alphabet and the authority's check character.
func ParseTypeCode(s string) (TypeCode, error) {
	if len(s) != 21 {
		return "", E(CodeBadValue).With("a licence type code has 21 characters")
	}
	if _, err := ParseUSCC(s[:18]); err != nil {
		return "", E(CodeBadValue).With("the first 18 characters of a licence type code are an authority's code")
	}
	for i := 18; i < 21; i++ {
		if base36(s[i]) < 0 {
			return "", E(CodeBadValue).With("a licence type code ends with three digits or capitals")
		}
	}
	return TypeCode(s), nil
}

// UnmarshalText parses.
func (t *TypeCode) UnmarshalText(b []byte) error { return parseInto(t, b, ParseTypeCode) }

// Region is a GB/T 2260 code: 6 digits, province–city–county, zeros for the levels above. Its name is a
// matter of the parameter tables; a code that has left them is still a Region.
type Region string

// ParseRegion checks the shape: six digits, a province of 11–82, no gap ("11 00 05" has no city).
func ParseRegion(s string) (Region, error) {
	if len(s) != 6 {
		return "", E(CodeBadRegion)
	}
	for i := 0; i < 6; i++ {
		if s[i] < '0' || s[i] > '9' {
			return "", E(CodeBadRegion)
		}
	}
	if s[0] < '1' || s[0] > '8' || s[1] == '0' || (s[2:4] == "00" && s[4:] != "00") {
		return "", E(CodeBadRegion)
	}
	return Region(s), nil
}

// Within reports whether r lies in (or is) outer.
func (r Region) Within(outer Region) bool {
	if len(r) != 6 || len(outer) != 6 {
		return false
	}
	prefix := strings.TrimSuffix(strings.TrimSuffix(string(outer), "00"), "00")
	return strings.HasPrefix(string(r), prefix)
}

// UnmarshalText parses.
func (r *Region) UnmarshalText(b []byte) error { return parseInto(r, b, ParseRegion) }

// AgencyID names an agency on the ledger: 2–32 of a-z, 0-9 and hyphen, beginning with a letter.
type AgencyID string

// ParseAgencyID checks the shape.
func ParseAgencyID(s string) (AgencyID, error) {
	if !shortID(s) {
		return "", E(CodeBadID)
	}
	return AgencyID(s), nil
}

// UnmarshalText parses.
func (a *AgencyID) UnmarshalText(b []byte) error { return parseInto(a, b, ParseAgencyID) }

// NodeID names a node: the same shape as an agency's.
type NodeID string

// ParseNodeID checks the shape.
func ParseNodeID(s string) (NodeID, error) {
	if !shortID(s) {
		return "", E(CodeBadID)
	}
	return NodeID(s), nil
}

// UnmarshalText parses.
func (n *NodeID) UnmarshalText(b []byte) error { return parseInto(n, b, ParseNodeID) }

// shortIDForm says what shortID asks for, in every language.
const shortIDForm = "a–z 0–9 -, 2–32"

func shortID(s string) bool {
	if len(s) < 2 || len(s) > 32 || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// MSPID names an organisation's membership service provider, as Fabric does.
type MSPID string

// ParseMSPID checks the shape: a letter, then letters, digits, hyphen; at most 64.
func ParseMSPID(s string) (MSPID, error) {
	if s == "" || len(s) > 64 {
		return "", E(CodeBadID)
	}
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || ((s[i] < '0' || s[i] > '9') && s[i] != '-')) {
			return "", E(CodeBadID)
		}
	}
	return MSPID(s), nil
}

// UnmarshalText parses.
func (m *MSPID) UnmarshalText(b []byte) error { return parseInto(m, b, ParseMSPID) }

func parseInto[T ~string](dst *T, b []byte, parse func(string) (T, error)) error {
	if len(b) == 0 {
		*dst = ""
		return nil
	}
	v, err := parse(string(b))
	if err != nil {
		return err
	}
	*dst = v
	return nil
}
