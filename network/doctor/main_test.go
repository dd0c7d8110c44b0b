package doctor

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// The test program is also the stranger that holds a port, and the stand-in of an orderer and a node.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "orderer" {
		fmt.Fprintln(os.Stderr, serveStandIn())
		os.Exit(1)
	}
	if len(os.Args) == 5 && os.Args[1] == "node" {
		fmt.Fprintln(os.Stderr, serveNode(os.Args[4]))
		os.Exit(1)
	}
	if len(os.Args) == 3 && os.Args[1] == "squat" {
		l, err := net.Listen("tcp", os.Args[2])
		for i := 0; err != nil && i < 100; i++ { // the threads of a process that ended close its sockets a moment later
			time.Sleep(50 * time.Millisecond)
			l, err = net.Listen("tcp", os.Args[2])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("holds", l.Addr())
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
		os.Exit(0)
	}
	os.Exit(m.Run())
}
