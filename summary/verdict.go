package summary

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
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

// alert is the kind of GitHub's alert block.
func (t tone) alert() string {
	return [...]string{"WARNING", "TIP", "CAUTION", "NOTE"}[t]
}

// A situation is what a reader must know first.
type situation struct {
	tone  tone
	mark  string // a picture; the word stands beside it, always
	word  string
	claim phrase // what became of the commit
}

// assess finds the words for a report. Whatever it doesn't know is in doubt.
func assess(r *gate.Report) situation {
	switch {
	case r.Exit == gate.ExitUsage:
		return situation{toneBad, "🛑", "CONFIGURATION ERROR", phrase{ours("nothing was asked and nothing was moved")}}
	case r.Exit == gate.ExitRegistry:
		return assessFailedMove(r)
	case r.Verdict == gate.None && r.Exit == gate.ExitOK, gate.Mode(r.Mode) == gate.ModeStatus:
		return assessMode(r)
	}
	switch {
	case r.Verdict == gate.Green && r.Exit == gate.ExitOK:
		return situation{toneGood, "✅", "GREEN", greenClaim(r)}
	case r.Verdict == gate.Red:
		return situation{toneBad, "❌", "RED", phrase{commit(r), ours(" is rejected")}}
	case r.Verdict == gate.Refused:
		return situation{toneBad, "⛔", "REFUSED", refusedClaim(r)}
	case r.Verdict == gate.Skipped && r.Exit == gate.ExitOK:
		return situation{toneDoubt, "⏭️", "SKIPPED", phrase{ours("nothing was checked and nothing was promoted")}}
	}
	return situation{toneDoubt, "⚠️", "INCONCLUSIVE", doubtClaim(r)}
}

// greenClaim counts what held.
func greenClaim(r *gate.Report) phrase {
	checks := 0
	for _, t := range r.Tenants {
		checks = max(checks, len(t.Checks))
	}
	held := " held "
	if checks == 1 {
		held = " holds "
	}
	p := phrase{commit(r), ours(": ")}
	if r.SHA == "" {
		p = nil
	}
	if checks > 0 {
		p = append(p, ours("%s%son %s", count(checks, "check"), held, count(len(r.Tenants), "tenant")))
	} else {
		p = append(p, said(r.Reason))
	}
	if r.DryRun {
		p = append(p, ours(" (dry run)"))
	}
	return p
}

func refusedClaim(r *gate.Report) phrase {
	switch gate.Mode(r.Mode) {
	case gate.ModeRollback:
		return phrase{ours("the roll-back is refused")}
	default:
		return phrase{commit(r), ours(" may not be promoted")}
	}
}

func doubtClaim(r *gate.Report) phrase {
	switch gate.Mode(r.Mode) {
	case gate.ModeRollback:
		return phrase{ours("the roll-back did not begin")}
	case gate.ModeHistory:
		return phrase{ours("the history could not be read")}
	case gate.ModePromote:
		return phrase{commit(r), ours(" could not be promoted")}
	}
	if r.SHA == "" {
		return phrase{ours("the fleet could not be judged")}
	}
	return phrase{commit(r), ours(" could not be judged")}
}

// assessFailedMove is for the exit code that says that the registry failed.
func assessFailedMove(r *gate.Report) situation {
	s := situation{tone: toneBad, mark: "🚨", word: "PROMOTION FAILED", claim: phrase{commit(r), ours(" is not promoted")}}
	switch {
	case gate.Mode(r.Mode) == gate.ModeRollback:
		s.word, s.claim = "ROLL-BACK FAILED", phrase{ours("the registry did not do it")}
	case r.Verdict == gate.Green:
		s.claim = phrase{commit(r), ours(" is green, but the registry did not move it")}
	}
	return s
}

// assessMode is for the modes that decide nothing, when they did their work.
func assessMode(r *gate.Report) situation {
	switch gate.Mode(r.Mode) {
	case gate.ModeRollback:
		p := phrase{ours("from "), name(short(rollbackFrom(r))), ours(" to "), name(short(rollbackTo(r)))}
		if r.DryRun {
			return situation{toneNote, "↩️", "WOULD ROLL BACK", p}
		}
		return situation{toneNote, "↩️", "ROLLED BACK", p}
	case gate.ModePromote:
		if !r.Promoted {
			return situation{toneNote, "🚀", "WOULD PROMOTE", phrase{commit(r)}}
		}
		return situation{toneGood, "🚀", "PROMOTED", phrase{commit(r), ours(" by hand")}}
	case gate.ModeHistory: // whose reason counts the records
		return situation{toneNote, "📜", "HISTORY", phrase{said(r.Reason)}}
	case gate.ModeStatus:
		return assessStatus(r)
	}
	return situation{toneDoubt, "⚠️", "INCONCLUSIVE", phrase{ours("nothing is known of what was done")}}
}

func assessStatus(r *gate.Report) situation {
	current := 0
	for _, t := range r.Tenants {
		if t.Rollout != nil && t.Rollout.State == "current" {
			current++
		}
	}
	p := phrase{ours("%s of %s run ", thousands(current), count(len(r.Tenants), "tenant")), commit(r)}
	if current == len(r.Tenants) && current > 0 && r.Exit == gate.ExitOK {
		return situation{toneGood, "✅", "CURRENT", p}
	}
	return situation{toneDoubt, "⚠️", "NOT CURRENT", p}
}

func rollbackFrom(r *gate.Report) string {
	if r.Rollback == nil {
		return ""
	}
	return r.Rollback.FromSHA
}

func rollbackTo(r *gate.Report) string {
	if r.Rollback == nil || r.Rollback.ToSHA == "" {
		return r.SHA
	}
	return r.Rollback.ToSHA
}

// target is the tag that the run is about; "" where there is none.
func target(r *gate.Report) string {
	for _, i := range r.Images {
		if i.Target != "" {
			return i.Target
		}
	}
	return ""
}

// whereabouts says where the target tag points now; empty where there is none.
func whereabouts(r *gate.Report) phrase {
	tag := target(r)
	if tag == "" || gate.Mode(r.Mode) == gate.ModeHistory {
		return nil
	}
	states := map[string]int{}
	for _, i := range r.Images {
		states[i.State]++
	}
	all := len(r.Images)
	there := ours("it")
	if gate.Mode(r.Mode) == gate.ModeRollback {
		there = name(short(rollbackTo(r)))
	}
	switch {
	case states["already"] == all:
		return phrase{name(tag), ours(" points at "), there, ours(" already")}
	case states["promoted"]+states["already"] == all:
		return phrase{name(tag), ours(" now points at "), there}
	case states["unchanged"] == all:
		return staysAt(r, tag)
	case states["restored"]+states["unchanged"] == all:
		return phrase{name(tag), ours(" is back where it was")}
	case states["restored"]+states["unchanged"]+states["promoted"]+states["already"] == all:
		moved := states["promoted"] + states["already"]
		return phrase{name(tag), ours(" is split: %d of %s at the new digest", moved, count(all, "image"))}
	default:
		return phrase{ours("where "), name(tag), ours(" points is not known for all images")}
	}
}

// staysAt names the commit that an untouched target points at, when it is one
// and known.
func staysAt(r *gate.Report, tag string) phrase {
	previous := r.Images[0].PreviousRevision
	for _, i := range r.Images {
		if i.PreviousRevision != previous {
			previous = ""
		}
	}
	if previous == "" {
		return phrase{name(tag), ours(" is untouched")}
	}
	return phrase{name(tag), ours(" stays at "), name(short(previous))}
}

// title is what a reader sees first: the claim, and where the target points.
func title(r *gate.Report) phrase {
	p := append(phrase{}, assess(r).claim...)
	if where := whereabouts(r); len(where) > 0 {
		p = append(append(p, ours("; ")), where...)
	}
	return p
}

// quiet reports whether there is no cause to tell: all is well, and the title
// says why, or the table of a status does.
func quiet(r *gate.Report) bool {
	s := assess(r)
	return s.tone == toneGood || s.tone == toneNote || r.Reason == "" || gate.Mode(r.Mode) == gate.ModeStatus
}

// Headline is the report in one plain sentence: the verdict, the commit in 7
// digits, where the target points, and where something went wrong its first
// cause. It serves the log and annotations.
func Headline(r *gate.Report) string {
	line := assess(r).word + ": " + title(r).plain()
	if !quiet(r) {
		line += ". " + clean(r.Reason, maxSaid)
	}
	return untrusted.Line(line, 0)
}

// maxDescription is how many characters GitHub takes for the description of a
// commit status.
const maxDescription = 140

// StatusDescription is the report for a commit status, whose commit and target
// the forge shows beside it: the verdict and, where something went wrong, the
// first tenant and check that did. It has at most 140 characters.
func StatusDescription(r *gate.Report) string {
	s := assess(r)
	line := strings.ToLower(s.word) + ": "
	tenant, check, detail := firstCause(r)
	switch {
	case r.Exit == gate.ExitRegistry:
		line += whereabouts(r).plain() + ": " + r.Reason
	case s.tone == toneGood || s.tone == toneNote || s.tone == toneDoubt && r.Reason == "":
		line += title(r).plain()
	case tenant != "":
		const share = 40 // characters of each name, so that both are seen
		line += untrusted.Line(tenant, share) + ": "
		if check != "" {
			line += untrusted.Line(check, share) + ": "
		}
		line += detail
	default:
		line += r.Reason
	}
	return untrusted.Line(line, maxDescription)
}

// firstCause is the first contradiction; where there is none the first tenant
// that was not reached or check that could not be judged.
func firstCause(r *gate.Report) (tenant, check, detail string) {
	for _, want := range []string{"fail", "error"} {
		for _, t := range r.Tenants {
			for _, c := range t.Checks {
				if c.Result == want && (want == "fail") == (r.Verdict == gate.Red) {
					return t.Name, c.Name, cmp.Or(c.Detail, c.Got)
				}
			}
		}
	}
	if r.Verdict == gate.Refused {
		return "", "", ""
	}
	for _, t := range r.Tenants {
		for _, o := range []*gate.Rollout{t.Rollout, t.After} {
			if o != nil && o.State != "current" {
				return t.Name, "", standing(o)
			}
		}
	}
	return "", "", ""
}

// standing says where a tenant is, in a few words.
func standing(o *gate.Rollout) string {
	text := o.State
	if o.Version != "" {
		text += ", it runs " + short(o.Version)
	}
	if o.Detail != "" {
		text += ": " + o.Detail
	}
	return text
}

// identity says what proves that the checks met the commit; empty where the
// mode asks for no proof.
func identity(r *gate.Report) string {
	if !gate.Mode(r.Mode).Judges() || r.Verdict == gate.Skipped || r.Exit == gate.ExitUsage {
		return ""
	}
	asked, before, after := 0, 0, 0
	for _, t := range r.Tenants {
		if t.Rollout != nil {
			asked++
			before += isCurrent(t.Rollout)
			after += isCurrent(t.After)
		}
	}
	all := count(len(r.Tenants), "tenant")
	switch {
	case r.IdentityProven && len(r.Tenants) == 1:
		return "Proven: the tenant told this commit before and after the checks."
	case r.IdentityProven:
		return "Proven: all " + all + " told this commit before and after the checks."
	case asked == 0:
		return "Unproven: no tenant was asked which commit it runs."
	case !r.Ran:
		return "Unproven: " + thousands(before) + " of " + all + " told this commit, so no check ran."
	}
	return "Unproven: " + thousands(before) + " of " + all + " told this commit before the checks, " + thousands(after) + " after them."
}

func isCurrent(o *gate.Rollout) int {
	if o != nil && o.State == "current" {
		return 1
	}
	return 0
}

// runes counts characters.
func runes(s string) int { return utf8.RuneCountInString(s) }
