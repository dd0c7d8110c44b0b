package importer

import "time"

// Pace is how fast a pass goes.
type Pace struct {
	Progress
	Rate float64       // rows a second since the pass began here; 0 in its first second
	Left time.Duration // about; 0 while not known
}

// Meter turns progress into pace, for whoever shows it. The zero value is ready. Used by one goroutine at a
// time.
type Meter struct {
	pass  Pass
	begun time.Time
	first int // rows done when the pass began here: what earlier runs did says nothing of the speed
}

// Pace is the pace at a moment.
func (m *Meter) Pace(p Progress, now time.Time) Pace {
	if p.Pass != m.pass {
		m.pass, m.begun, m.first = p.Pass, now, p.Rows
	}
	out := Pace{Progress: p}
	if passed := now.Sub(m.begun); passed >= time.Second {
		out.Rate = float64(p.Rows-m.first) / passed.Seconds()
	}
	if out.Rate > 0 && p.Total > p.Rows {
		out.Left = time.Duration(float64(p.Total-p.Rows) / out.Rate * float64(time.Second)).Round(time.Second)
	}
	return out
}
