package imports

import (
	"io"
	"os"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// reserve takes a place for an upload, before a byte of it is received: of the queue, of its person, of the disk. What
// waits for an approval, for days perhaps, is its person's own trouble and takes nobody else's place. An upload being
// received counts as large as one may be.
func (m *Imports) reserve(principal string) error {
	if m.cfg.Full() {
		return model.E(model.CodeStorageFull)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	waiting, own := 0, m.coming[principal]
	bytesEach := int64(own+1) * importer.MaxFile
	bytes := int64(importer.MaxFile)
	for _, n := range m.coming {
		waiting += n
		bytes += int64(n) * importer.MaxFile
	}
	for _, j := range m.jobs {
		bytes += j.bytes
		if j.Principal == principal {
			bytesEach += j.bytes
		}
		if j.Import.State.Final() {
			continue
		}
		if j.Import.State != sdk.ImportAwaiting {
			waiting++
		}
		if j.Principal == principal {
			own++
		}
	}
	switch {
	case own >= MaxEach:
		return model.E(model.CodeImportsFull).With("%d imports of yours have not ended", own)
	case waiting >= MaxWaiting, bytes > maxBytes, bytesEach > maxBytesEach:
		return model.E(model.CodeImportsFull)
	case len(m.jobs) >= maxKept && !m.forget():
		return model.E(model.CodeImportsFull)
	}
	m.coming[principal]++
	return nil
}

func (m *Imports) received(principal string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.coming[principal]--; m.coming[principal] == 0 {
		delete(m.coming, principal)
	}
}

// forget makes room by the oldest ended import of whoever has most of them, so that nobody's many drive out another's.
// The caller holds mu.
func (m *Imports) forget() bool {
	ended := map[string]int{}
	for _, j := range m.jobs {
		if j.Import.Ended() && j.stop == nil {
			ended[j.Principal]++
		}
	}
	var old *job
	for _, j := range m.jobs {
		if !j.Import.Ended() || j.stop != nil {
			continue
		}
		if old == nil || ended[j.Principal] > ended[old.Principal] ||
			ended[j.Principal] == ended[old.Principal] && j.Import.ID < old.Import.ID {
			old = j
		}
	}
	if old == nil || os.RemoveAll(old.dir) != nil {
		return false
	}
	delete(m.jobs, old.Import.ID)
	return true
}

// roomy looks at the disk while an upload, or what was rejected of it, is written.
type roomy struct {
	io.Writer
	full  func() bool
	since int
}

func (w *roomy) Write(b []byte) (int, error) {
	if w.since += len(b); w.since > 8<<20 {
		if w.since = 0; w.full() {
			return 0, model.E(model.CodeStorageFull)
		}
	}
	return w.Writer.Write(b)
}
