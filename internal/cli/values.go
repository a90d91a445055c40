package cli

import (
	"fmt"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// values holds what a front end was given, by input name. An empty value takes
// the default of its input, so that an unset variable switches nothing off.
// Faults are collected: all of them are told at once.
type values struct {
	texts   map[string]string
	secrets map[string]secret.Value
	faults  []error
}

func newValues() *values {
	return &values{texts: map[string]string{}, secrets: map[string]secret.Value{}}
}

// set takes a raw value of an input.
func (v *values) set(in input, raw string) {
	raw = strings.TrimSpace(raw)
	if in.secret {
		v.secrets[in.name] = secret.New(raw)
		return
	}
	if raw != "" {
		v.texts[in.name] = raw
	}
}

// fault notes one fault of an input. The text must not hold a secret.
func (v *values) fault(name, format string, args ...any) {
	v.faults = append(v.faults, fmt.Errorf("%s: "+format, append([]any{name}, args...)...))
}

// text returns an input's value, or its default.
func (v *values) text(name string) string {
	if given, ok := v.texts[name]; ok {
		return given
	}
	in, ok := lookup(name)
	if !ok {
		panic("no input is called " + name)
	}
	return in.def
}

// secret returns a secret input's value; it may be absent.
func (v *values) secret(name string) secret.Value { return v.secrets[name] }

// given reports whether an input has a value of its own.
func (v *values) given(name string) bool {
	return v.texts[name] != "" || !v.secrets[name].IsZero()
}

// boolean reads true or false in any case.
func (v *values) boolean(name string) bool {
	switch value := strings.ToLower(v.text(name)); value {
	case "true":
		return true
	case "false":
	default:
		v.fault(name, "%q is neither true nor false", shown(value))
	}
	return false
}

// duration reads a time such as 90s or 7m.
func (v *values) duration(name string) time.Duration {
	value := v.text(name)
	d, err := time.ParseDuration(value)
	if err != nil {
		v.fault(name, "%q is not a duration; write for example 90s or 7m", shown(value))
		return time.Second // a value that brings no second fault
	}
	return d
}

// number reads a decimal number between least and most.
func (v *values) number(name string, least, most int) int {
	value := v.text(name)
	n := 0
	if _, err := fmt.Sscanf(value+"\n", "%d\n", &n); err != nil || fmt.Sprint(n) != value {
		v.fault(name, "%q is not a whole number", shown(value))
		return least
	}
	if n < least || n > most {
		v.fault(name, "%d is not between %d and %d", n, least, most)
		return least
	}
	return n
}

// oneOf reads one of a few words.
func (v *values) oneOf(name string, words ...string) string {
	value := v.text(name)
	for _, w := range words {
		if value == w {
			return value
		}
	}
	v.fault(name, "%q is none of %s", shown(value), strings.Join(words, ", "))
	return words[0]
}

// shown makes a malformed value fit to be named in an error.
func shown(s string) string { return untrusted.Line(s, 80) }
