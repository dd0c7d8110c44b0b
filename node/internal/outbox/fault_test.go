package outbox

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

var errDisk = errors.New("no space left on device")

// disk is a storage whose writes and syncs fail on demand, before or after they took effect.
type disk struct {
	storage.Storage
	mode *atomic.Int32
}

const (
	healthy      int32 = iota
	writesFail         // nothing more reaches the file
	halfWritten        // half of each write reaches the file
	syncsFail          // everything reaches the file, and the sync says that it did not
	nothingOpens       // not even a file can be made
)

func (d disk) Create(fd storage.FileDesc) (storage.Writer, error) {
	if d.mode.Load() == nothingOpens {
		return nil, errDisk
	}
	w, err := d.Storage.Create(fd)
	if err != nil {
		return nil, err
	}
	return file{w, d.mode}, nil
}

type file struct {
	storage.Writer
	mode *atomic.Int32
}

func (f file) Write(b []byte) (int, error) {
	switch f.mode.Load() {
	case writesFail, nothingOpens:
		return 0, errDisk
	case halfWritten:
		n, _ := f.Writer.Write(b[:len(b)/2])
		return n, errDisk
	}
	return f.Writer.Write(b)
}

func (f file) Sync() error {
	if f.mode.Load() == syncsFail {
		_ = f.Writer.Sync()
		return errDisk
	}
	return f.Writer.Sync()
}

// openOn opens an outbox on a faulty disk. end closes both.
func openOn(t *testing.T, dir string, mode *atomic.Int32) (o *Outbox, end func()) {
	t.Helper()
	var files storage.Storage
	o, err := openWith(dir, Config{MinFree: 1, Logger: slog.New(slog.DiscardHandler)}, func(dir string, readOnly bool) (*leveldb.DB, error) {
		if files != nil { // goleveldb closes only storage that it opened itself
			_ = files.Close()
		}
		var err error
		if files, err = storage.OpenFile(dir, readOnly); err != nil {
			return nil, err
		}
		return leveldb.Open(disk{files, mode}, options(readOnly))
	})
	if err != nil {
		t.Fatal(err)
	}
	return o, func() {
		_ = o.Close() // the database may have failed
		_ = files.Close()
	}
}

// Whatever a failing disk did with a write: its caller is not told "accepted", it does not come back, and
// what was accepted before and after is there.
func TestFailingDisk(t *testing.T) {
	for name, how := range map[string]int32{"write": writesFail, "half a write": halfWritten, "sync": syncsFail, "open": nothingOpens} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var mode atomic.Int32
			o, end := openOn(t, dir, &mode)
			gone, before, during, after := operations(1), operations(2), operations(2), operations(2)
			mustPut(t, o, gone)
			mustPut(t, o, before)
			mode.Store(how)
			key := [16]byte{7}
			_, err := put(o, key, model.Digest{}, during)
			if kind := model.AsError(err).Kind(); err == nil || (kind != model.Unknown && kind != model.Unavailable) {
				t.Fatalf("during: %v", err)
			}
			if how != syncsFail && !o.Full() {
				t.Error("the outbox does not say that it is full")
			}
			if how != syncsFail { // opening anew heals that at once
				if _, err := put(o, [16]byte{}, model.Digest{}, operations(1)); !errors.Is(err, model.E(model.CodeStorageFull)) && !errors.Is(err, model.E(model.CodeOutcomeUnknown)) {
					t.Errorf("once more: %v", err)
				}
			}
			if _, ok, err := o.Outcome(before[0].ID); !ok || err != nil {
				t.Errorf("a read meanwhile: %v %v", ok, err)
			}
			if _, _, _, err := o.Lookup([16]byte{9}); err != nil {
				t.Errorf("a read meanwhile: %v", err)
			}
			_ = o.Done(ids(gone)) // fails or not
			mode.Store(healthy)
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				if _, err = put(o, [16]byte{8}, model.Digest{}, after); err == nil || time.Now().After(end) {
					break
				}
			}
			if err != nil {
				t.Fatalf("after: %v", err)
			}
			if err := o.Done(nil); err != nil {
				t.Error(err)
			}
			want := append(ids(before), ids(after)...)
			same(t, pending(t, o), want)
			if _, _, ok, err := o.Lookup(key); ok || err != nil {
				t.Errorf("the failed request's key: %v %v", ok, err)
			}
			if err := o.Check(); err != nil {
				t.Error(err)
			}
			end()
			o = open(t, dir, nil)
			same(t, pending(t, o), want)
			closeChecked(t, o)
		})
	}
}
