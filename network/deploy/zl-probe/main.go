// Command zl-probe asks a program of the same container whether it is well. The images hold no shell and no
// HTTP client, and the admin listeners are on loopback, so this is how a health check and an operator reach
// them:
//
//	zl-probe http://127.0.0.1:9801/readyz
//
// It prints the answer's body. The exit status is 0 for a 2xx answer, 1 for another or none, 2 for wrong use.
// Only loopback addresses are asked; their certificates are therefore not checked.
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

const (
	within  = 4 * time.Second
	maxBody = 4 << 20 // bytes printed; /metrics is the largest
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errOut io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(errOut, "zl-probe: give one URL, for example http://127.0.0.1:9801/readyz")
		return 2
	}
	if err := local(args[0]); err != nil {
		fmt.Fprintf(errOut, "zl-probe: %s\n", err)
		return 2
	}
	client := &http.Client{
		Timeout: within,
		Transport: &http.Transport{
			Proxy: nil, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, // loopback only
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r, err := client.Get(args[0])
	if err != nil {
		fmt.Fprintf(errOut, "zl-probe: %s\n", err)
		return 1
	}
	defer r.Body.Close()
	if _, err := io.Copy(out, io.LimitReader(r.Body, maxBody)); err != nil {
		fmt.Fprintf(errOut, "zl-probe: %s\n", err)
		return 1
	}
	if r.StatusCode < 200 || r.StatusCode > 299 {
		fmt.Fprintf(errOut, "zl-probe: %s\n", r.Status)
		return 1
	}
	return 0
}

// local refuses what is not an HTTP URL of this machine by its number.
func local(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("the URL must begin with http:// or https://")
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address such as 127.0.0.1", u.Hostname())
	}
	return nil
}
