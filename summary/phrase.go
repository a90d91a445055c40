package summary

import (
	"fmt"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// A kind says how a part of a phrase is shown.
type kind int

const (
	kindOurs   kind = iota // words of this package
	kindName               // a name or a value: code where the format has that
	kindCommit             // the commit of the report: a link where there is one
	kindSaid               // a sentence that may hold foreign words
)

// A part is a piece of a phrase.
type part struct {
	kind kind
	text string
}

// A phrase is a sentence for people that each format writes in its own way.
type phrase []part

func ours(format string, args ...any) part { return part{kindOurs, fmt.Sprintf(format, args...)} }
func name(s string) part                   { return part{kindName, s} }
func said(s string) part                   { return part{kindSaid, s} }

// commit is the commit of the report in 7 digits.
func commit(r *gate.Report) part { return part{kindCommit, short(r.SHA)} }

// quoted splits a sentence at its `quoted` pieces, which are names.
func quoted(s string) phrase {
	pieces := strings.Split(s, "`")
	var p phrase
	for i, piece := range pieces {
		switch {
		case i%2 == 0:
			p = append(p, said(piece))
		case i == len(pieces)-1: // no second backtick
			p = append(p, said("`"+piece))
		case strings.TrimSpace(piece) != "":
			p = append(p, name(piece))
		}
	}
	return p
}

// plain writes the phrase as one line without markup.
func (p phrase) plain() string {
	var b strings.Builder
	for _, part := range p {
		if part.kind == kindOurs {
			b.WriteString(part.text)
			continue
		}
		b.WriteString(part.clean())
	}
	return b.String()
}

// clean is the text of a part within its bounds.
func (p part) clean() string {
	if p.kind == kindSaid {
		return clean(p.text, maxSaid)
	}
	return clean(p.text, maxName)
}

// Bounds of foreign text, in characters. Producers keep to smaller ones; these
// hold for any Report.
const (
	maxName  = 100  // of a tenant, a check, a tag
	maxSaid  = 1000 // of a sentence
	maxValue = 4000 // of what was expected, what came, and how to see it again
)

// clean is how every text of a Report enters every format but JSON.
func clean(s string, limit int) string {
	if isPlain(s) && len(s) <= limit {
		return s
	}
	return untrusted.Line(s, limit)
}

// isPlain reports whether the sanitiser has nothing to do. Names and sentences
// are so nearly always, and there are 100,000 of them in a large fleet.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ':' && i+1 < len(s) && s[i+1] == ':' || c == '[' {
			return false
		}
	}
	return true
}

// short is the first 7 digits of a commit, and anything else as it is.
func short(sha string) string {
	if len(sha) > 7 && isHex(sha) {
		return sha[:7]
	}
	return sha
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// digest is a digest short enough for a table: 12 hex digits, as Docker shows it.
func digest(d string) string {
	if _, hex, found := strings.Cut(d, ":"); found && len(hex) > 12 && isHex(hex) {
		return hex[:12]
	}
	return d
}

// reference is an image with the tag that moves.
func reference(i gate.Image) string {
	if i.Target == "" {
		return i.Image
	}
	return i.Image + ":" + i.Target
}

// millis writes a time in milliseconds for people.
func millis(ms int64) string { return span(time.Duration(ms) * time.Millisecond) }

// span writes a length of time for people, in two units at most.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// when writes a moment in UTC; empty: it is not known.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + plural(noun)
}

func plural(noun string) string {
	if strings.HasSuffix(noun, "try") {
		return strings.TrimSuffix(noun, "y") + "ies"
	}
	return noun + "s"
}

// thousands writes a count with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
