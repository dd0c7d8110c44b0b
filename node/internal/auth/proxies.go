package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the reverse proxies of a node: what they say of where a request comes from is believed.
type Proxies []netip.Prefix

const (
	maxProxies = 64
	minProxies = 8 // bits: who names more of the Internet than a /8 has anybody choose his address
)

// ParseProxies reads addresses ("10.1.2.3") and networks ("10.1.2.0/24").
func ParseProxies(list []string) (Proxies, error) {
	if len(list) > maxProxies {
		return nil, fmt.Errorf("more than %d", maxProxies)
	}
	var out Proxies
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("%q is neither an address (10.1.2.3) nor a network (10.1.2.0/24)", s)
			}
			a = a.Unmap().WithZone("")
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Bits() < minProxies || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%q: name the proxies, not a network of all who come", s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func (p Proxies) has(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Address is where a request comes from: the other end of its connection, or, where that is one of the proxies, the
// rightmost address of X-Forwarded-For that is none of them. What stands left of that the caller may have written
// himself. The zero address: the listener is not TCP.
func (p Proxies) Address(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := ap.Addr().Unmap().WithZone("")
	if !p.has(from) {
		return from
	}
	said := r.Header["X-Forwarded-For"]
	for i := len(said) - 1; i >= 0; i-- {
		for rest := said[i]; rest != ""; {
			comma := strings.LastIndexByte(rest, ',')
			a, ok := forwarded(rest[comma+1:])
			if !ok {
				return from // nonsense is as far as it is known
			}
			if from = a; !p.has(from) {
				return from
			}
			rest = rest[:max(comma, 0)]
		}
	}
	return from
}

// forwarded reads one element of X-Forwarded-For; some proxies add a port.
func forwarded(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return a, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}
