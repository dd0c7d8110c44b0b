package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// CheckURL refuses what no subscription may have: https is asked for, http only to this machine and only where insecure
// says so; no user, no fragment.
func CheckURL(raw string, insecure bool) error {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > 1024 || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return model.E(model.CodeBadValue, "url")
	}
	if u.Scheme == "https" {
		return nil
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && insecure && (u.Hostname() == "localhost" || (err == nil && ip.IsLoopback())) {
		return nil
	}
	return model.E(model.CodeBadValue, "url").With("https only; http only to this machine, with --insecure-loopback")
}

// reserved are networks that are nobody's on the open internet, beside those that netip knows.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("64:ff9b::/96"),
}

// errGuarded is an address that is not spoken to.
var errGuarded = errors.New("the address is in a private or reserved network that webhooks.networks does not list")

// allowed reports whether an address may be spoken to: a public one, or one in a network that the operator lists. What
// a name resolves to is looked at when the connection is made, so a name that changes its mind changes nothing.
func allowed(ip netip.Addr, networks []netip.Prefix, loopback bool) bool {
	ip = ip.Unmap().WithZone("")
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() { // cloud metadata among them
		return false
	}
	in := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.ContainsFunc(networks, in) || (loopback && ip.IsLoopback()) {
		return true
	}
	return !ip.IsPrivate() && !ip.IsLoopback() && ip.IsGlobalUnicast() && !slices.ContainsFunc(reserved, in)
}

// newClient speaks to receivers: no proxy of the environment, no redirects, bounded in time and size.
func newClient(networks []netip.Prefix, roots *x509.CertPool, loopback bool) *http.Client {
	d := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(at.Addr(), networks, loopback) {
			return errGuarded
		}
		return nil
	}}
	return &http.Client{
		Timeout:       deadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return d.DialContext(ctx, network, address)
			},
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  deadline,
			MaxResponseHeaderBytes: 32 << 10,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true,
		},
	}
}

// Networks reads the operator's list.
func Networks(list []string) (out []netip.Prefix, err error) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("networks: %w", err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
