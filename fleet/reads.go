package fleet

import (
	"fmt"
	"slices"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// reads are what one tenant reported, read after read.
type reads []report.Rollout

// maxRecent is how many answers a tenant is remembered by while it is polled.
const maxRecent = 8

// and returns the last answers of both. Reads without an answer say nothing about
// a mix.
func (rs reads) and(more reads) reads {
	all := slices.Clone(rs)
	for _, read := range more {
		if read.State != report.Unreachable {
			all = append(all, read)
		}
	}
	return all[max(0, len(all)-maxRecent):]
}

// changed reports whether something else was reported after the commit. The other
// way round it is how every rollout goes.
func (rs reads) changed() bool {
	found := false
	for _, read := range rs {
		if found && read.State != report.Current {
			return true
		}
		found = found || read.State == report.Current
	}
	return false
}

// count returns how many reads have a state.
func (rs reads) count(state report.RolloutState) int {
	n := 0
	for i := range rs {
		if rs[i].State == state {
			n++
		}
	}
	return n
}

// agree reports whether every read reported the commit.
func (rs reads) agree() bool { return rs.count(report.Current) == len(rs) }

// unanswered reports whether no read but those of the commit was answered.
func (rs reads) unanswered() bool {
	return !rs.agree() && rs.count(report.Current)+rs.count(report.Unreachable) == len(rs)
}

// last returns the last read that has a state.
func (rs reads) last(state report.RolloutState) report.Rollout {
	for i := len(rs) - 1; i >= 0; i-- {
		if rs[i].State == state {
			return rs[i]
		}
	}
	return report.Rollout{State: state}
}

// standing says where a tenant stands by all of these reads.
func (rs reads) standing(expected report.Commit) report.Rollout {
	current, stale, unknown := rs.count(report.Current), rs.count(report.Stale), rs.count(report.UnknownCommit)
	switch {
	case current > 0 && stale+unknown > 0:
		r := report.Rollout{State: report.Mixed, Version: rs.last(report.Current).Version, Detail: rs.counted(expected)}
		if stale > 0 {
			r.Version = rs.last(report.Stale).Version
		}
		return r
	case stale > 0:
		r := rs.last(report.Stale)
		if len(rs) > 1 {
			r.Detail = fmt.Sprintf("%s, not %s", rs.counted(expected), expected)
		}
		return r
	case current < len(rs) && unknown < len(rs):
		r := rs.last(report.Unreachable)
		if current+unknown > 0 {
			r.Version = rs.last(report.Current).Version
			r.Detail = fmt.Sprintf("%s; the last failure: %s", rs.counted(expected), r.Detail)
		}
		return r
	case unknown > 0:
		return rs.last(report.UnknownCommit)
	default:
		return rs.last(report.Current)
	}
}

// counted says how often what was reported: "reported 4c1d56e 1 of 2 times,
// 66b9c04 once".
func (rs reads) counted(expected report.Commit) string {
	names, times := []string{expected.Short()}, map[string]int{}
	for i := range rs {
		name := rs[i].Version.Short()
		switch rs[i].State {
		case report.Current:
			name = expected.Short()
		case report.Unreachable:
			name = "no answer"
		case report.UnknownCommit:
			name = "no commit"
		}
		if times[name]++; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if times[names[0]] == 0 {
		names = names[1:]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "reported %s %d of %s", names[0], times[names[0]], report.Count(len(rs), "time"))
	for _, name := range names[1:] {
		fmt.Fprintf(&b, ", %s %s", name, often(times[name]))
	}
	return b.String()
}

// often returns once, twice, 3 times.
func often(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	default:
		return report.Count(n, "time")
	}
}
