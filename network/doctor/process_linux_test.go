package doctor

import (
	"net"
	"os"
	"testing"
)

func TestHolders(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Logf("%s: %v", at, err)
			continue
		}
		s := Socket{Address: l.Addr().String()}
		if s.find(holders()); !s.Open || s.Holder != os.Getpid() || s.Command == "" {
			t.Errorf("%s: %+v", at, s)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		s = Socket{Address: s.Address}
		if s.find(holders()); s.Open {
			t.Errorf("%s is closed: %+v", at, s)
		}
	}
	if frozen(os.Getpid()) {
		t.Error("this process is not frozen")
	}
}

func FuzzListening(f *testing.F) {
	f.Add("  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0")
	f.Add("  1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7 1")
	f.Add("  sl  local_address rem_address   st tx_queue")
	f.Fuzz(func(t *testing.T, line string) {
		address, inode, ok := listening(line)
		if ok && (address == "" || inode == "") {
			t.Errorf("%q gives %q %q", line, address, inode)
		}
	})
}
