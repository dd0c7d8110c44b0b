package outbox_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/zhenglian/zhenglian/node/internal/outbox"
)

func TestFull(t *testing.T) {
	var free atomic.Int64
	o, err := outbox.Open(t.TempDir(), outbox.Config{MinFree: 1000, Free: func(string) (uint64, error) {
		if n := free.Load(); n >= 0 {
			return uint64(n), nil
		}
		return 0, errors.New("no figure")
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for n, want := range map[int64]bool{0: true, 999: true, 1000: false, 1 << 40: false, -1: false} {
		free.Store(n)
		if o.Full() != want {
			t.Errorf("with %d bytes free: %v", n, !want)
		}
	}
}
