package auth

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates are the limits of a node. They protect the node from one caller's mistake, and its disk: each request leaves some
// 250 bytes in the access log, which nothing removes. They are no quota.
type Rates struct {
	PrincipalPerSecond float64 // requests of one principal; default 2,000
	PrincipalBurst     int     // default 10,000
	AddressPerSecond   float64 // of one address: failed sign-ins, and requests of each open route; default 20
	AddressBurst       int     // default 100
	Remembered         int     // principals and addresses remembered each; default 20,000
	Proxies            Proxies // of which the addresses are not those of callers
}

func (r Rates) withDefaults() Rates {
	for _, d := range []struct {
		at  *float64
		def float64
	}{{&r.PrincipalPerSecond, 2000}, {&r.AddressPerSecond, 20}} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
	for _, d := range []struct {
		at  *int
		def int
	}{{&r.PrincipalBurst, 10_000}, {&r.AddressBurst, 100}, {&r.Remembered, 20_000}} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
	return r
}

// Limits counts requests. Safe for concurrent use.
type Limits struct {
	principals, failed, open bucketSet
	proxies                  Proxies
}

// NewLimits applies defaults where rates are zero.
func NewLimits(r Rates) *Limits {
	r = r.withDefaults()
	addresses := func() bucketSet {
		return bucketSet{limit: rate.Limit(r.AddressPerSecond), burst: r.AddressBurst, most: r.Remembered}
	}
	return &Limits{
		principals: bucketSet{limit: rate.Limit(r.PrincipalPerSecond), burst: r.PrincipalBurst, most: r.Remembered},
		failed:     addresses(), open: addresses(), proxies: r.Proxies,
	}
}

// Principal counts one request of a principal. It returns zero when the request may go on, otherwise how
// long to wait before the next.
func (l *Limits) Principal(id string) time.Duration { return l.principals.take(id) }

// Open counts one request of an open route for the address that it comes from. Each route counts for itself: who overdoes
// one shuts none of the others for those who share his address.
func (l *Limits) Open(r *http.Request, route string) time.Duration {
	return l.open.take(network(l.proxies.Address(r)) + " " + route)
}

// Failed counts one failed sign-in for the address that the request comes from.
func (l *Limits) Failed(r *http.Request) time.Duration {
	return l.failed.take(network(l.proxies.Address(r)))
}

// FailedWait says how long the address that a request comes from has to wait after failed sign-ins, and counts none.
func (l *Limits) FailedWait(r *http.Request) time.Duration {
	return l.failed.wait(network(l.proxies.Address(r)))
}

// network is what counts as one: an IPv4 address, or the 2^64 addresses of an IPv6 network.
func network(a netip.Addr) string {
	if !a.IsValid() {
		return "?" // a listener that is not TCP: all its callers share one bucket
	}
	if a.Is6() {
		p, _ := a.Prefix(64) // 64 is in range for every IPv6 address
		return p.String()
	}
	return a.String()
}

// bucketSet is a bounded map of token buckets: two generations, and when the young one is full it becomes
// the old one. Who is forgotten starts with a full bucket, which is why a generation holds many more than
// any burst of callers.
type bucketSet struct {
	limit rate.Limit
	burst int
	most  int

	mu         sync.Mutex
	young, old map[string]*rate.Limiter // under mu
}

func (b *bucketSet) take(key string) time.Duration {
	now := time.Now()
	l := b.bucket(key)
	if l.AllowN(now, 1) {
		return 0
	}
	return b.until(l, now)
}

// wait is what take would return, but takes nothing and remembers nobody.
func (b *bucketSet) wait(key string) time.Duration {
	b.mu.Lock()
	l, ok := b.young[key]
	if !ok {
		l, ok = b.old[key]
	}
	b.mu.Unlock()
	now := time.Now()
	if !ok || l.TokensAt(now) >= 1 {
		return 0
	}
	return b.until(l, now)
}

func (b *bucketSet) until(l *rate.Limiter, now time.Time) time.Duration {
	wait := time.Duration((1 - l.TokensAt(now)) / float64(b.limit) * float64(time.Second))
	return max(wait, time.Millisecond)
}

func (b *bucketSet) bucket(key string) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.young[key]; ok {
		return l
	}
	l, ok := b.old[key]
	if !ok {
		l = rate.NewLimiter(b.limit, b.burst)
	}
	if b.young == nil || len(b.young) >= b.most {
		b.old, b.young = b.young, make(map[string]*rate.Limiter)
	}
	b.young[key] = l
	return l
}
