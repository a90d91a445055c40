package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// values holds what a front end was given, by input name. An empty value takes
// the default of its input, so that an unset variable switches nothing off.
// What is invalid is collected: all of it is reported at once.
type values struct {
	texts    map[string]string
	secrets  map[string]secret.Value
	invalid  []error
	rejected map[string]bool // inputs with something invalid
}

func newValues() *values {
	return &values{texts: map[string]string{}, secrets: map[string]secret.Value{}, rejected: map[string]bool{}}
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

// reject notes what is wrong with an input. The text must not hold a secret.
func (v *values) reject(name, format string, args ...any) {
	v.rejected[name] = true
	v.invalid = append(v.invalid, fmt.Errorf("%s: "+format, append([]any{name}, args...)...))
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
		v.reject(name, "%q is neither true nor false", shown(value))
	}
	return false
}

// duration reads a time such as 90s or 7m.
func (v *values) duration(name string) time.Duration {
	value := v.text(name)
	d, err := time.ParseDuration(value)
	if err != nil {
		v.reject(name, "%q is not a duration; write for example 90s or 7m", shown(value))
		return time.Second // a value that is not rejected a second time
	}
	return d
}

// positive reads a duration that is longer than nothing.
func (v *values) positive(name string) time.Duration {
	d := v.duration(name)
	if d <= 0 {
		v.reject(name, "%v is not a time to wait; write for example 30s or 7m", d)
		return time.Second
	}
	return d
}

// number reads a decimal number between least and most.
func (v *values) number(name string, least, most int) int {
	value := v.text(name)
	n := 0
	if _, err := fmt.Sscanf(value+"\n", "%d\n", &n); err != nil || fmt.Sprint(n) != value {
		v.reject(name, "%q is not a whole number", shown(value))
		return least
	}
	if n < least || n > most {
		v.reject(name, "%d is not between %d and %d", n, least, most)
		return least
	}
	return n
}

// optional reads a number that need not be given; 0: it was not.
func (v *values) optional(name string, least, most int) int {
	if v.text(name) == "" {
		return 0
	}
	return v.number(name, least, most)
}

// byteUnits are the units of a size, with what they stand for.
var byteUnits = []struct {
	name string
	size int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

// bytes reads a size such as 8MiB; without a unit it is in bytes.
func (v *values) bytes(name string) int64 {
	text := v.text(name)
	for _, unit := range byteUnits {
		digits, found := strings.CutSuffix(text, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if most := int64(1<<30) / unit.size; err == nil && n > 0 && n <= most {
			return n * unit.size
		}
		break
	}
	v.reject(name, "%q is not a size between 1 byte and 1GiB; write for example 8MiB", shown(text))
	return 0
}

// oneOf reads one of a few words.
func (v *values) oneOf(name string, words ...string) string {
	value := v.text(name)
	for _, w := range words {
		if value == w {
			return value
		}
	}
	v.reject(name, "%q is not one of %s", shown(value), strings.Join(words, ", "))
	return words[0]
}

// shown makes an invalid value fit to be named in an error.
func shown(s string) string { return untrusted.Line(s, 80) }
