package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what is read of any answer.
const maxAnswer = 4 << 20 // bytes

// page is an answer of an operations or admin listener.
type page struct {
	status int
	body   []byte
	offset time.Duration // the other's clock less this machine's
	slack  time.Duration // how far offset may be off: 0 when the answer has no time
}

// get reads a page. It has connections of its own, so that none stays open. Only plain HTTP is spoken: operations
// and admin listeners of a network on one machine are on loopback addresses.
func (l *looker) get(ctx context.Context, address, path string) (page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return page{}, err
	}
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	sent := l.o.Now()
	r, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return page{}, err
	}
	defer r.Body.Close()
	got := l.o.Now()
	p := page{status: r.StatusCode}
	if at, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		// The header has whole seconds, cut off: on average half a second is lost.
		half := got.Sub(sent) / 2
		p.offset, p.slack = at.Add(500*time.Millisecond).Sub(sent.Add(half)), half+500*time.Millisecond
	}
	p.body, err = io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	return p, err
}

// clock notes the time that an answer came with.
func (p *Program) clock(a page) {
	if a.slack > 0 {
		p.Clock, p.Slack = a.offset, a.slack
	}
}

// sample returns the first value of a metric's name.
func (p page) sample(name string) (labels string, v float64, ok bool) {
	for line := range strings.Lines(string(p.body)) {
		rest, found := strings.CutPrefix(line, name)
		if !found || (!strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ")) {
			continue
		}
		rest = strings.TrimSpace(rest)
		at := strings.LastIndexByte(rest, ' ')
		v, err := strconv.ParseFloat(rest[at+1:], 64)
		return rest[:max(at, 0)], v, err == nil
	}
	return "", 0, false
}

// label returns a label's value.
func label(labels, name string) string {
	_, rest, ok := strings.Cut(labels, name+`="`)
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// ask makes a TLS handshake as a client with the given roots and certificate would. It returns the certificates that
// the server showed, even when they are not good, and why a client would not go on.
func handshake(ctx context.Context, address string, config *tls.Config) ([]*x509.Certificate, error) {
	var shown []*x509.Certificate
	var verified error
	c := config.Clone()
	c.InsecureSkipVerify = true // verified below, where the certificates can be kept whatever comes of it
	c.NextProtos = []string{"h2"}
	c.VerifyConnection = func(s tls.ConnectionState) error {
		shown = s.PeerCertificates
		if len(shown) == 0 {
			verified = errors.New("the server shows no certificate")
			return verified
		}
		o := x509.VerifyOptions{Roots: config.RootCAs, DNSName: config.ServerName, Intermediates: x509.NewCertPool()}
		if config.Time != nil {
			o.CurrentTime = config.Time()
		}
		for _, extra := range shown[1:] {
			o.Intermediates.AddCert(extra)
		}
		_, verified = shown[0].Verify(o)
		return nil
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	if until, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(until)
	}
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		return shown, fmt.Errorf("TLS: %w", err)
	}
	if verified != nil {
		return shown, fmt.Errorf("TLS: %w", verified)
	}
	// With TLS 1.3 the server's judgement on a client's certificate comes after the client's handshake. A server of
	// HTTP/2 speaks first, so what comes tells.
	one := make([]byte, 1)
	if _, err := conn.Read(one); err != nil {
		return shown, fmt.Errorf("TLS: %w", err)
	}
	return shown, nil
}
