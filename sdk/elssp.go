package sdk

// ElsspUse is what every call of /elssp/v1 states (用证要素). All six are required.
type ElsspUse struct {
	UseFor       string `json:"UseFor"`       // purpose of use
	OrgName      string `json:"orgName"`      // using organisation
	Username     string `json:"username"`     // clerk; kept as a pseudonym only
	ItemName     string `json:"itemName"`     // service item (事项)
	ItemCode     string `json:"itemCode"`     // its code
	BusinessCode string `json:"businessCode"` // case (业务办件) at the using organisation
}

// ElsspByID asks for one licence by its identifier (证照标识).
type ElsspByID struct {
	ElsspUse
	CertificateID string `json:"CertificateID"`
}

// ElsspByHolder asks for a holder's licences.
type ElsspByHolder struct {
	ElsspUse
	HolderCode string   `json:"CZZTDM"`               // holder code
	HolderType string   `json:"CZZTDMLXDM,omitempty"` // holder code type: 001, 111 …; left out: any
	Types      []string `json:"ZZLXDM,omitempty"`     // licence types; none: all
}

// ElsspAnswer is the envelope of every answer of /elssp/v1, refusals included.
type ElsspAnswer struct {
	Status  string             `json:"status"`  // "0" for success, "1" otherwise
	Code    string             `json:"code"`    // "ok", or the code of the refusal (docs/spec/errors.md)
	Message string             `json:"message"` // in Chinese
	Field   string             `json:"field,omitempty"`
	More    bool               `json:"more,omitempty"` // the holder has more licences than these
	Data    []ElsspCertificate `json:"data,omitempty"`
}

// ElsspCertificate is a licence under the Chinese short names of its metadata.
type ElsspCertificate struct {
	ZZMC       string         `json:"ZZMC"` // name: that of the type
	ZZBH       string         `json:"ZZBH"`
	ZZBS       string         `json:"ZZBS"`
	ZZLXDM     string         `json:"ZZLXDM"`
	ZZLXMC     string         `json:"ZZLXMC"`
	ZZBFJG     string         `json:"ZZBFJG"` // "" where the issuer is not the agency that owns the licence now
	ZZBFJGDM   string         `json:"ZZBFJGDM"`
	ZZBFRQ     string         `json:"ZZBFRQ"`
	CZZT       string         `json:"CZZT"` // of a person only where this node may show it
	CZZTDM     string         `json:"CZZTDM"`
	CZZTDMLX   string         `json:"CZZTDMLX"`
	CZZTDMLXDM string         `json:"CZZTDMLXDM"`
	ZZYXQQSRQ  string         `json:"ZZYXQQSRQ"`
	ZZYXQJZRQ  string         `json:"ZZYXQJZRQ"` // 长期 for none
	KZ         map[string]any `json:"KZ"`        // fields of the face, each named KZ_ and its name
	Verdict    string         `json:"verdict"`   // valid, invalid, undetermined, stale
	Reason     string         `json:"reason"`
	ReasonZh   string         `json:"reasonZh"`
	File       *ElsspFile     `json:"file,omitempty"` // of the calls for files
}

// ElsspFile is what the ledger knows of a licence's file. Held says whether this node has the file itself.
type ElsspFile struct {
	Held   bool   `json:"held"`
	Sealed bool   `json:"sealed"`
	SHA256 string `json:"sha256,omitempty"`
	SM3    string `json:"sm3,omitempty"`
}
