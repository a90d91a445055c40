package summary

import (
	"math"
	"slices"
	"strconv"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// Sizes of the drawing, in its own units.
const (
	lineWidth  = 1000.0
	labelWidth = 190.0
	laneHeight = 24.0
	laneTop    = 26.0
	maxLanes   = 40 // tenants drawn, failing ones first
	// minShare is the least part of the width that a phase gets: the checks take
	// a second after minutes of waiting, and must still be seen.
	minShare = 0.09
)

// A timeline is the run as a drawing: a lane for the gate, and one a tenant.
type timeline struct {
	Width, Height float64
	Note          string
	Ticks         []tick
	Lanes         []lane
	Key           []legendEntry
}

type (
	tick struct {
		X             float64
		Label, Anchor string
	}
	lane struct {
		Name   string
		TextY  float64
		Blocks []block
	}
	block struct {
		Class, Title, Label        string
		X, Y, W, H, LabelX, LabelY float64
	}
	legendEntry struct{ Class, Label string }
)

// phaseClasses says how the gate's own phases are drawn.
var phaseClasses = map[string]string{
	"rollout": "wait", "smoke": "pass", "identity": "prep", "candidate": "prep", "promote": "move", "canary tag": "move",
	"restore": "move", "rollback": "move", "records": "prep", "history": "prep",
}

// newTimeline draws the run; nil where no phase was timed.
func newTimeline(r *gate.Report, v *fleetView) *timeline {
	scale := newTimescale(r)
	if scale == nil {
		return nil
	}
	t := &timeline{Width: lineWidth}
	t.addTicks(scale)
	gateLane := lane{Name: "the gate", TextY: laneTop + 17}
	for _, p := range r.Phases {
		if b, ok := scale.block(p.Started, p.Finished, laneTop+3, laneHeight-6); ok {
			b.Class, b.Title = phaseClass(r, p.Name), clean(p.Name, maxName)+", "+span(p.Finished.Sub(p.Started))
			if b.W > 7*float64(runes(p.Name))+6 {
				b.Label, b.LabelX, b.LabelY = clean(p.Name, maxName), round(b.X+b.W/2), laneTop+16
			}
			gateLane.Blocks = append(gateLane.Blocks, b)
		}
	}
	t.Lanes = append(t.Lanes, gateLane)
	for i, row := range v.rows[:min(len(v.rows), maxLanes)] {
		t.Lanes = append(t.Lanes, tenantLane(r, row, scale, laneTop+float64(i+1)*laneHeight))
	}
	t.Height = laneTop + float64(len(t.Lanes))*laneHeight + 6
	if n := len(v.rows) - maxLanes; n > 0 {
		t.Note = "failing tenants first; " + thousands(n) + " more are not drawn"
	}
	t.Key = []legendEntry{{"wait", "wait"}, {"pass", "checks that held"}, {"fail", "contradicted"}, {"error", "not judged"}, {"move", "moves of tags"}, {"prep", "reads and records"}}
	return t
}

// phaseClass draws the checks as red as they ended.
func phaseClass(r *gate.Report, name string) string {
	class, known := phaseClasses[name]
	switch {
	case !known:
		return "prep"
	case name == "smoke" && r.Verdict == gate.Red:
		return "fail"
	case name == "smoke" && r.Verdict != gate.Green:
		return "error"
	}
	return class
}

// tenantLane draws one tenant: its wait, then its checks one above the other,
// since they run at the same time.
func tenantLane(r *gate.Report, row tenantRow, scale *timescale, y float64) lane {
	const longest = 24
	l := lane{Name: clean(row.Name, longest), TextY: y + 17}
	if o := row.Rollout; o != nil {
		if from, ok := phaseStart(r, "rollout"); ok {
			if b, ok := scale.block(from, from.Add(time.Duration(o.WaitedMS)*time.Millisecond), y+3, laneHeight-6); ok {
				b.Class, b.Title = "wait", "waited "+millis(o.WaitedMS)+": "+clean(o.State, maxName)
				if o.State != "current" {
					b.Class = "stale"
				}
				l.Blocks = append(l.Blocks, b)
			}
		}
	}
	const most = 12 // more would be thinner than a line
	checks := row.Checks[:min(len(row.Checks), most)]
	height := (laneHeight - 6) / float64(max(len(checks), 1))
	for i := range checks {
		c := &checks[i]
		if c.Started.IsZero() {
			continue
		}
		if b, ok := scale.block(c.Started, c.Started.Add(time.Duration(c.DurationMS)*time.Millisecond), y+3+float64(i)*height, height); ok {
			b.Class, b.Title = checkClass(c.Result), clean(c.Name, maxName)+": "+clean(c.Result, maxName)+", "+millis(c.DurationMS)
			if b.Class != "pass" && b.Class != "skip" { // seen from afar, above the others
				b.Y, b.H, b.W = y+3, laneHeight-6, max(b.W, 9)
			}
			l.Blocks = append(l.Blocks, b)
		}
	}
	slices.SortStableFunc(l.Blocks, func(a, b block) int { return int(a.H - b.H) })
	return l
}

func checkClass(result string) string {
	switch result {
	case "pass", "fail", "skip":
		return result
	}
	return "error"
}

func phaseStart(r *gate.Report, name string) (time.Time, bool) {
	for _, p := range r.Phases {
		if p.Name == name {
			return p.Started, true
		}
	}
	return time.Time{}, false
}

// A timescale maps time to the width of the drawing. It is straight within each
// phase, and short phases are stretched.
type timescale struct {
	moments []time.Time // ascending
	at      []float64   // their places
	start   time.Time
}

// newTimescale returns nil where there is nothing to draw.
func newTimescale(r *gate.Report) *timescale {
	s := &timescale{start: r.Started}
	add := func(t time.Time) {
		if !t.IsZero() {
			s.moments = append(s.moments, t)
		}
	}
	for _, p := range r.Phases[:min(len(r.Phases), 20)] {
		add(p.Started)
		add(p.Finished)
	}
	slices.SortFunc(s.moments, time.Time.Compare)
	s.moments = slices.CompactFunc(s.moments, time.Time.Equal)
	if len(s.moments) < 2 {
		return nil
	}
	if s.start.IsZero() || s.start.After(s.moments[0]) {
		s.start = s.moments[0]
	}
	s.place()
	return s
}

// place gives each stretch a share of the width by its length, and the short
// ones more than that.
func (s *timescale) place() {
	whole := s.moments[len(s.moments)-1].Sub(s.moments[0]).Seconds()
	shares := make([]float64, len(s.moments)-1)
	var sum float64
	least := min(minShare, 0.8/float64(len(shares)))
	for i := range shares {
		shares[i] = max(s.moments[i+1].Sub(s.moments[i]).Seconds()/whole, least)
		sum += shares[i]
	}
	x := labelWidth
	s.at = append(s.at, x)
	for _, share := range shares {
		x += share / sum * (lineWidth - labelWidth - 14)
		s.at = append(s.at, x)
	}
}

// x is the place of a moment, within the drawing.
func (s *timescale) x(t time.Time) float64 {
	last := len(s.moments) - 1
	for i := range last {
		if t.Before(s.moments[i+1]) {
			part := t.Sub(s.moments[i]).Seconds() / s.moments[i+1].Sub(s.moments[i]).Seconds()
			return s.at[i] + max(part, 0)*(s.at[i+1]-s.at[i])
		}
	}
	return s.at[last]
}

// block is a stretch of time at a height; false when it never ended or ended
// before it began.
func (s *timescale) block(from, to time.Time, y, height float64) (block, bool) {
	if from.IsZero() || to.Before(from) {
		return block{}, false
	}
	x := s.x(from)
	return block{X: round(x), Y: round(y), W: round(max(s.x(to)-x-1, 2)), H: round(max(height-0.6, 1))}, true
}

// addTicks labels the moments between phases, where there is room.
func (t *timeline) addTicks(s *timescale) {
	last := -1000.0
	for i, moment := range s.moments {
		k := tick{X: round(s.at[i]), Anchor: "middle"}
		if k.X-last > 64 {
			k.Label = offset(moment.Sub(s.start))
			last = k.X
		}
		if i == len(s.moments)-1 {
			k.Anchor = "end"
		}
		t.Ticks = append(t.Ticks, k)
	}
}

// offset writes how far into the run a moment is.
func offset(d time.Duration) string {
	if d < 100*time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return span(d)
}

// round keeps a place short in the file.
func round(x float64) float64 { return math.Round(x*10) / 10 }
