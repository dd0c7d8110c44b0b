package model

import (
	"testing"
	"time"
)

// TestDates holds the calendar against the time package for every day that a Date can name.
func TestDates(t *testing.T) {
	end := time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)
	n := uint32(0)
	for day := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC); day.Before(end); day = day.AddDate(0, 0, 1) {
		n++
		d := Date(day.Format(time.DateOnly))
		if got, err := ParseDate(string(d)); err != nil || got != d {
			t.Fatalf("%s: %v", d, err)
		}
		if d.Days() != n || DateFromDays(n) != d {
			t.Fatalf("%s: %d, %s", d, d.Days(), DateFromDays(n))
		}
		start := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, Shanghai)
		if DateOf(start) != d || DateOf(start.Add(-1)) != DateFromDays(n-1) && n > 1 || DateOf(d.End()) != d || !d.Start().Equal(start) {
			t.Fatalf("%s: its bounds", d)
		}
	}
	if n != lastDay {
		t.Errorf("lastDay is %d", n)
	}
	for _, s := range []string{
		"1899-12-31", "3000-01-01", "2026-02-29", "2100-02-29", "2026-13-01", "2026-00-01", "2026-01-00", "2026-04-31", "2026-1-01",
		"2026-01-1", "2026/01/01", "2026-01-01 ", "", "２０２６-01-01", "20260101", "-026-01-01", "2026-01-0a",
	} {
		if _, err := ParseDate(s); AsError(err) == nil || AsError(err).Code != CodeBadDate {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := ParseDate("2000-02-29"); err != nil {
		t.Error(err)
	}
}

func TestTimes(t *testing.T) {
	for y := 0; y < 10000; y += 7 {
		for _, at := range []time.Time{
			time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(y, 2, 28, 23, 59, 59, 999e6, time.UTC), time.Date(y, 3, 1, 12, 30, 1, 5e6, time.UTC),
			time.Date(y, 12, 31, 23, 59, 59, 1e6, time.UTC),
		} {
			s := at.Format(timeLayout)
			got, err := ParseTime(s)
			if err != nil || !got.Time().Equal(at) || got.String() != s {
				t.Fatalf("%s: %s, %v", s, got, err)
			}
			if want := at.In(Shanghai).Format(time.DateOnly); len(want) == 10 && string(got.Date()) != want {
				t.Fatalf("%s: Shanghai day %s, want %s", s, got.Date(), want)
			}
		}
	}
	for _, s := range []string{
		"2026-01-01T00:00:00Z", "2026-01-01T00:00:00.0000Z", "2026-01-01T24:00:00.000Z", "2026-01-01T00:60:00.000Z", "2026-01-01T00:00:60.000Z",
		"2026-01-01t00:00:00.000Z", "2026-01-01T00:00:00.000z", "2026-01-01T00:00:00,000Z", "2026-02-30T00:00:00.000Z", "2026-01-01T00:00:00.000+", " 026-01-01T00:00:00.000Z",
	} {
		if _, err := ParseTime(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	// The day changes at 16:00 UTC.
	for s, want := range map[string]Date{"2026-01-01T15:59:59.999Z": "2026-01-01", "2026-01-01T16:00:00.000Z": "2026-01-02"} {
		if v, _ := ParseTime(s); v.Date() != want {
			t.Errorf("%s: %s", s, v.Date())
		}
	}
}
