// Package sdnotify tells the service manager how a service is, by systemd's protocol (sd_notify(3)): datagrams of
// NAME=VALUE lines to the socket that the environment names. Without a service manager nothing happens.
package sdnotify

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// States of a service; see sd_notify(3).
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Alive    = "WATCHDOG=1"
)

// Status is a line for people, which `systemctl status` shows.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// Notify sends states in one datagram. It does nothing without NOTIFY_SOCKET. Safe for concurrent use.
func Notify(states ...string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"}) // a leading @ is an abstract name to package net as well
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = c.Write([]byte(strings.Join(states, "\n")))
	return err
}

// Watchdog is how long the manager waits for a sign of life before it restarts the service, 0 where it does not.
func Watchdog() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 || us > int64(time.Hour/time.Microsecond)*24 {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}
