package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// awayNode accepts what it is sent and waits for a ledger that does not come; it calls waited when it is asked again,
// and keeps silent then, or knows the caller no more.
func awayNode(t *testing.T, revoked bool, waited func()) (url string, id model.OpID) {
	t.Helper()
	id = model.NewOpID()
	var asked atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that its caller is gone
		if asked.Swap(true) {
			if revoked {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			waited()
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(model.Outcome{
			Operation: id, Status: model.Pending, Kind: model.KindLicence, Record: "bj-scjg.7", Version: 1,
			Presentation: model.Presentation{"holder_name": {}},
		})
	}))
	t.Cleanup(s.Close)
	return s.URL, id
}

// Who waits for the ledger is told so, and an interrupt leaves what is known; who does not wait is not kept.
func TestLedgerAway(t *testing.T) {
	issue := []string{"licence", "issue", "--type", "11100000MB0143028R001", "--number", "1", "--holder-code", "11010519491231002X", "--holder-name", "甲", "--person"}
	suspend := []string{"licence", "suspend", "bj-scjg.7", "--agency", "bj-scjg", "--decision", "1", "--reason", "inspection"}
	for _, tt := range []struct {
		name       string
		args       []string
		code       int
		says, errs []string // parts of stdout and stderr; ID stands for the operation
	}{
		{"issue", append(issue, "--lang", "en"), 1, []string{"accepted, not yet committed", "bj-scjg.7", "holder_name"},
			[]string{"accepted as ID, waiting for the ledger\n", "ID is accepted and not lost", "(interrupted)", "history licence bj-scjg.7", "/v1/operations/ID\n"}},
		{"签发", append(issue, "--lang", "zh"), 1, []string{"已受理，尚未上链", "bj-scjg.7", "holder_name"},
			[]string{"已受理，操作号 ID，等待账本……\n", "操作 ID 已受理，不会丢失", "（已中断）", "history licence bj-scjg.7", "/v1/operations/ID 查询\n"}},
		{"suspend", append(suspend, "--json"), 1, []string{`"status": "pending"`}, []string{"accepted as ID", "not lost"}},
		{"revoked", append(suspend, "--lang", "en"), 1, []string{"accepted, not yet committed"}, []string{"accepted as ID", "not known to be committed (unauthenticated: "}},
		{"issue without waiting", append(issue, "--lang", "en", "--no-wait"), 0, []string{"accepted, not yet committed", "bj-scjg.7"}, nil},
		{"suspend without waiting", append(suspend, "--lang", "zh", "--no-wait"), 0, []string{"已受理，尚未上链"}, nil},
	} {
		t.Setenv("LANG", "en_US.UTF-8")
		ctx, interrupt := context.WithCancel(t.Context())
		url, id := awayNode(t, tt.name == "revoked", interrupt)
		var out, errOut bytes.Buffer
		code := run(ctx, append(tt.args, "--url", url, "--key", "zlk_x"), strings.NewReader(""), &out, &errOut)
		interrupt()
		if code != tt.code || (tt.errs == nil) != (errOut.Len() == 0) {
			t.Errorf("%s: status %d, %q", tt.name, code, &errOut)
		}
		for _, want := range tt.says {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s prints %q, want %q", tt.name, &out, want)
			}
		}
		for _, want := range tt.errs {
			if want = strings.ReplaceAll(want, "ID", id.String()); !strings.Contains(errOut.String(), want) {
				t.Errorf("%s says %q, want %q", tt.name, &errOut, want)
			}
		}
	}
}

// What opens the commitments of an accepted licence is kept, also where the waiting was interrupted.
func TestKeptWhileLedgerAway(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	url, _ := awayNode(t, false, interrupt)
	keep := filepath.Join(t.TempDir(), "keep.json")
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"licence", "issue", "--type", "11100000MB0143028R001", "--number", "1", "--holder-code", "11010519491231002X", "--holder-name", "甲",
		"--person", "--keep", keep, "--url", url, "--key", "zlk_x"}, strings.NewReader(""), &out, &errOut)
	raw, err := os.ReadFile(keep)
	if code != 1 || err != nil || !bytes.Contains(raw, []byte("holder_name")) || strings.Contains(out.String(), "holder_name") {
		t.Errorf("status %d, kept %q, %v, printed %q, %q", code, raw, err, &out, &errOut)
	}
}
