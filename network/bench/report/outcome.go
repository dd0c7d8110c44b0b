package report

import (
	"bytes"
	"fmt"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Committed reads the outcomes of one request: every one committed, and its record. It looks for the two members
// only, so that the load generator takes little of the machine; what it accepts here is read back afterwards.
func Committed(out []byte, want int) ([]model.RecordID, error) {
	const status, record = `"status":"committed"`, `"record":"`
	ids := make([]model.RecordID, 0, want)
	rest := out
	for len(ids) < want {
		at := bytes.Index(rest, []byte(status))
		if at < 0 {
			return nil, fmt.Errorf("%d of %d operations are committed: %.300s", len(ids), want, out)
		}
		rest = rest[at+len(status):]
		if at = bytes.Index(rest, []byte(record)); at < 0 {
			return nil, fmt.Errorf("an outcome names no record: %.300s", out)
		}
		rest = rest[at+len(record):]
		end := bytes.IndexByte(rest, '"')
		if end < 0 {
			return nil, fmt.Errorf("an outcome's record has no end: %.300s", out)
		}
		ids = append(ids, model.RecordID(rest[:end]))
	}
	return ids, nil
}
