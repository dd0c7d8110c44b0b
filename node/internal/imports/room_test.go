package imports

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

func put(t *testing.T, m *Imports, id, principal string, s sdk.ImportState, draft string) *job {
	now := model.TimeOf(time.Now())
	j := &job{Import: sdk.Import{ID: id, State: s, Draft: draft}, Principal: principal, changed: make(chan struct{}), dir: t.TempDir(), again: time.Now().Add(time.Hour)}
	if s.Final() {
		j.Import.Finished = &now
	}
	m.mu.Lock()
	m.jobs[id] = j
	m.mu.Unlock()
	return j
}

func upload(m *Imports, principal string) error {
	_, err := m.Create(Request{Principal: principal, Agency: "bj-scjg", Name: "f", Map: []byte(mapping)}, bytes.NewReader([]byte("x")))
	return err
}

// However many have ended, another import is taken; who has most of them loses his oldest.
func TestEndedDoNotRefuse(t *testing.T) {
	m := open(t, t.TempDir(), &fakeNode{known: map[string][]model.Outcome{}}, nil)
	put(t, m, "0-quiet", "quiet", sdk.ImportDone, "")
	for i := range maxKept - 1 {
		put(t, m, fmt.Sprintf("1-%03d", i), "busy", sdk.ImportDone, "")
	}
	if err := upload(m, "another"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Get("1-000"); err == nil {
		t.Error("the oldest of who has most is there")
	}
	if _, _, err := m.Get("0-quiet"); err != nil {
		t.Error("another's was driven out")
	}
}

// What waits for an approval keeps its own person from more, and nobody else.
func TestAwaitingRefusesOnlyOnesOwn(t *testing.T) {
	m := open(t, t.TempDir(), &fakeNode{known: map[string][]model.Outcome{}, draft: "1-aaaaaaaa"}, nil)
	for who := range 8 {
		for i := range MaxEach {
			put(t, m, fmt.Sprintf("%d-%d", who, i), fmt.Sprint("p", who), sdk.ImportAwaiting, "1-aaaaaaaa")
		}
	}
	if err := upload(m, "p3"); !errors.Is(err, model.E(model.CodeImportsFull)) {
		t.Errorf("a sixth of one person: %v", err)
	}
	if err := upload(m, "another"); err != nil {
		t.Error(err)
	}
}

// One person's files, and uploads that are being received, do not fill the disk.
func TestUploadsAreBounded(t *testing.T) {
	m := open(t, t.TempDir(), &fakeNode{known: map[string][]model.Outcome{}}, nil)
	put(t, m, "1", "hoarder", sdk.ImportDone, "").bytes = maxBytesEach - importer.MaxFile + 1
	if err := upload(m, "hoarder"); !errors.Is(err, model.E(model.CodeImportsFull)) {
		t.Errorf("a hoarder: %v", err)
	}
	for range MaxEach {
		if err := m.reserve("slow"); err != nil {
			t.Fatal(err)
		}
	}
	if err := upload(m, "slow"); !errors.Is(err, model.E(model.CodeImportsFull)) {
		t.Errorf("while five are being received: %v", err)
	}
	for range MaxEach {
		m.received("slow")
	}
	if err := upload(m, "slow"); err != nil {
		t.Error(err)
	}
	m.cfg.Full = func() bool { return true }
	if err := upload(m, "late"); !errors.Is(err, model.E(model.CodeStorageFull)) {
		t.Errorf("a full disk: %v", err)
	}
}
