package summary

import (
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A tone says how a reader should take a report. The zero value is doubt.
type tone int

const (
	toneDoubt tone = iota
	toneGood
	toneBad
	toneNote
)

// String returns the word that the HTML page uses as a class.
func (t tone) String() string { return [...]string{"doubt", "good", "bad", "note"}[t] }

// A situation is what a reader must know first.
type situation struct {
	tone  tone
	mark  string // a picture; the word stands beside it, always
	word  string
	claim phrase // what became of the commit
}

// assess finds the words for a report. Whatever it doesn't know is in doubt.
func assess(r *report.Report) situation {
	switch {
	case r.Exit == report.ExitUsage:
		return situation{toneBad, "🛑", "CONFIGURATION ERROR", phrase{ours("no request was sent and no tag was moved")}}
	case r.Exit == report.ExitRegistry:
		return assessFailedMove(r)
	case r.Exit == report.ExitAfterwards:
		return assessAfterwards(r)
	case r.Verdict == report.None && r.Exit == report.ExitOK, r.Mode == report.ModeStatus:
		return assessMode(r)
	}
	switch {
	case r.Verdict == report.Green && r.Exit == report.ExitOK:
		return situation{toneGood, "✅", "GREEN", greenClaim(r)}
	case r.Verdict == report.Red:
		return situation{toneBad, "❌", "RED", phrase{commit(r), ours(" is rejected")}}
	case r.Verdict == report.Refused:
		return assessRefused(r)
	case r.Verdict == report.Skipped && r.Exit == report.ExitOK:
		return situation{toneDoubt, "⏭️", "SKIPPED", phrase{ours("no check ran and nothing was promoted")}}
	}
	return situation{toneDoubt, "⚠️", "INCONCLUSIVE", doubtClaim(r)}
}

// assessRefused names what a rule forbids.
func assessRefused(r *report.Report) situation {
	s := situation{toneBad, "⛔", "REFUSED", phrase{commit(r), ours(" may not be promoted")}}
	switch r.Mode {
	case report.ModeRollback:
		s.claim = phrase{ours("rollback is refused")}
	case report.ModeHold:
		s.claim = phrase{ours("the target can't be put on hold")}
	case report.ModeRelease:
		s.claim = phrase{ours("the target can't be released")}
	case report.ModeAdmit:
		s.word, s.claim = "NOT ADMITTED", phrase{ours("the image may not run")}
	}
	return s
}

// assessAfterwards is for the exit code that says that the tags moved and that
// something which follows failed.
func assessAfterwards(r *report.Report) situation {
	if r.Mode == report.ModeRollback {
		from, to := rollbackEnds(r)
		return situation{toneBad, "🚨", "ROLLED BACK WITH ERRORS", phrase{ours("from "), name(from.Short()), ours(" to "), name(to.Short())}}
	}
	return situation{toneBad, "🚨", "PROMOTED WITH ERRORS", phrase{commit(r)}}
}

// greenClaim counts what passed.
func greenClaim(r *report.Report) phrase {
	checks := 0
	for i := range r.Tenants {
		applied := 0
		for j := range r.Tenants[i].Checks {
			if !r.Tenants[i].Checks[j].Inapplicable() {
				applied++
			}
		}
		checks = max(checks, applied)
	}
	var p phrase
	if r.SHA != "" {
		p = phrase{commit(r), ours(": ")}
	}
	if checks > 0 {
		p = append(p, ours("%s passed on %s", report.Count(checks, "check"), report.Count(len(r.Tenants), "tenant")))
	} else {
		p = append(p, said(r.Reason))
	}
	if r.DryRun {
		p = append(p, ours(" (dry run)"))
	}
	return p
}

func doubtClaim(r *report.Report) phrase {
	switch r.Mode {
	case report.ModeRollback:
		return phrase{ours("rollback did not start")}
	case report.ModeHistory:
		return phrase{ours("the history could not be read")}
	case report.ModeHold:
		return phrase{ours("the target was not put on hold")}
	case report.ModeRelease:
		return phrase{ours("the target was not released")}
	case report.ModeAdmit:
		return phrase{ours("it could not be read whether the image may run")}
	case report.ModePromote:
		return phrase{commit(r), ours(" could not be promoted")}
	}
	if r.SHA == "" {
		return phrase{ours("no verdict on the fleet")}
	}
	return phrase{ours("no verdict on "), commit(r)}
}

// assessFailedMove is for the exit code that says that the registry failed.
func assessFailedMove(r *report.Report) situation {
	s := situation{tone: toneBad, mark: "🚨", word: "PROMOTION FAILED", claim: phrase{commit(r), ours(" is not promoted")}}
	switch {
	case r.Mode == report.ModeHold:
		s.word, s.claim = "HOLD FAILED", phrase{ours("the registry did not take the record; stop promotions by hand")}
	case r.Mode == report.ModeRelease:
		s.word, s.claim = "RELEASE FAILED", phrase{ours("the registry did not take the record")}
	case r.Mode == report.ModeRollback:
		s.word, s.claim = "ROLLBACK FAILED", phrase{ours("the registry did not move every tag")}
	case r.Verdict == report.Green:
		s.claim = phrase{commit(r), ours(" is green, but the registry did not move it")}
	}
	return s
}

// assessMode is for the modes that decide nothing, when they did their work.
func assessMode(r *report.Report) situation {
	switch r.Mode {
	case report.ModeRollback:
		from, to := rollbackEnds(r)
		p := phrase{ours("from "), name(from.Short()), ours(" to "), name(to.Short())}
		if r.DryRun {
			return situation{toneNote, "↩️", "WOULD ROLL BACK", p}
		}
		return situation{toneNote, "↩️", "ROLLED BACK", p}
	case report.ModePromote:
		if !r.Promoted {
			return situation{toneNote, "🚀", "WOULD PROMOTE", phrase{commit(r)}}
		}
		return situation{toneGood, "🚀", "PROMOTED", phrase{commit(r), ours(" by hand")}}
	case report.ModeHold:
		return situation{toneNote, "✋", "HOLD", phrase{said(r.Reason)}}
	case report.ModeRelease:
		return situation{toneNote, "▶️", "RELEASE", phrase{said(r.Reason)}}
	case report.ModeAdmit:
		return situation{toneGood, "✅", "ADMITTED", phrase{said(r.Reason)}}
	case report.ModeHistory: // whose reason counts the records
		return situation{toneNote, "📜", "HISTORY", phrase{said(r.Reason)}}
	case report.ModeStatus:
		return assessStatus(r)
	}
	return situation{toneDoubt, "⚠️", "INCONCLUSIVE", phrase{ours("it is not known what was done")}}
}

func assessStatus(r *report.Report) situation {
	current := 0
	for i := range r.Tenants {
		if r.Tenants[i].Rollout.IsCurrent() {
			current++
		}
	}
	p := phrase{ours("%s of %s run ", report.Thousands(current), report.Count(len(r.Tenants), "tenant")), commit(r)}
	if current == len(r.Tenants) && current > 0 && r.Exit == report.ExitOK {
		return situation{toneGood, "✅", "CURRENT", p}
	}
	return situation{toneDoubt, "⚠️", "NOT CURRENT", p}
}

// rollbackEnds are the commit that was replaced and the one that replaced it.
func rollbackEnds(r *report.Report) (from, to report.Commit) {
	switch {
	case r.Rollback == nil:
		return "", r.SHA
	case r.Rollback.ToSHA == "":
		return r.Rollback.FromSHA, r.SHA
	}
	return r.Rollback.FromSHA, r.Rollback.ToSHA
}

// target is the tag that the run is about; "" where there is none.
func target(r *report.Report) string {
	for _, i := range r.Images {
		if i.Target != "" && r.Mode != report.ModeHistory {
			return i.Target
		}
	}
	return ""
}

// whereabouts says where the target tag points now; empty where there is none.
func whereabouts(r *report.Report) phrase {
	tag := target(r)
	if tag == "" {
		return nil
	}
	states := map[report.TagState]int{}
	for _, i := range r.Images {
		states[i.State]++
	}
	there := ours("it")
	if r.Mode == report.ModeRollback {
		_, to := rollbackEnds(r)
		there = name(to.Short())
	}
	all, moved := len(r.Images), states[report.Promoted]+states[report.Already]
	switch {
	case moved+states[report.Restored]+states[report.Unchanged] < all:
		return phrase{ours("it is unknown where "), name(tag), ours(" points for some images")}
	case states[report.Already] == all:
		return phrase{name(tag), ours(" already points at "), there}
	case moved == all:
		return phrase{name(tag), ours(" now points at "), there}
	case states[report.Unchanged] == all:
		return staysAt(r, tag)
	case moved == 0:
		return phrase{name(tag), ours(" is back where it was")}
	default:
		return phrase{name(tag), ours(" is split: %d of %s at the new digest", moved, report.Count(all, "image"))}
	}
}

// staysAt names the commit that a target still points at, when it is known and
// the same for every image.
func staysAt(r *report.Report, tag string) phrase {
	previous := r.Images[0].PreviousRevision
	for _, i := range r.Images {
		if i.PreviousRevision != previous {
			previous = ""
		}
	}
	if previous == "" {
		return phrase{name(tag), ours(" was not moved")}
	}
	return phrase{name(tag), ours(" stays at "), name(report.Commit(previous).Short())}
}
