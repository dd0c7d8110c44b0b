package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

const (
	sessionIdle  = 30 * time.Minute
	sessionLife  = 8 * time.Hour
	maxSessions  = 10_000
	maxOfSubject = 10
)

// sessions are the browsers that are signed in. They are in memory: a restart ends them. Safe for concurrent use.
type sessions struct {
	now func() time.Time

	mu sync.Mutex
	by map[[32]byte]*session // under mu; by SHA-256 of what the browser holds
}

type session struct {
	subject      Subject
	begun, asked time.Time
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.begun) >= sessionLife || now.Sub(s.asked) >= sessionIdle
}

// begin makes a session and returns what the browser is to hold: 256 random bits. Where there are too many, the one that
// has been quiet for longest ends.
func (s *sessions) begin(subject Subject) string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	own := 0
	var quiet, quietOwn *[32]byte
	for key, other := range s.by {
		if other.over(now) {
			delete(s.by, key)
			continue
		}
		if quiet == nil || other.asked.Before(s.by[*quiet].asked) {
			quiet = &key
		}
		if other.subject == subject {
			own++
			if quietOwn == nil || other.asked.Before(s.by[*quietOwn].asked) {
				quietOwn = &key
			}
		}
	}
	switch {
	case own >= maxOfSubject:
		delete(s.by, *quietOwn)
	case len(s.by) >= maxSessions:
		delete(s.by, *quiet)
	}
	s.by[sha256.Sum256([]byte(token))] = &session{subject, now, now}
	return token
}

// find is whose session a browser holds; used says that somebody makes use of it.
func (s *sessions) find(token string, used bool) (Subject, bool) {
	key, now := sha256.Sum256([]byte(token)), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.by[key]
	if !ok {
		return Subject{}, false
	}
	if found.over(now) {
		delete(s.by, key)
		return Subject{}, false
	}
	if used {
		found.asked = now
	}
	return found.subject, true
}

func (s *sessions) count() int {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, one := range s.by {
		if !one.over(now) {
			n++
		}
	}
	return n
}

func (s *sessions) end(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, sha256.Sum256([]byte(token)))
}
