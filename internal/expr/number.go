package expr

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A decimal is a number with all its digits: 0.digits times ten to the power
// of point. Its zero value is 0. Answers have ids beyond what a float64 tells
// apart, so that numbers are compared as the digits that were sent.
type decimal struct {
	negative bool
	digits   string // without leading and trailing zeros
	point    int64
}

// isNumber reports whether v is one of the forms that numbers have here: int
// (status, elapsed, len, literals), float64 (literals) and json.Number.
func isNumber(v any) bool {
	switch v.(type) {
	case int, float64, json.Number:
		return true
	default:
		return false
	}
}

// compareNumbers compares two values for which [isNumber] is true, as cmp.Compare
// does. The error says that a number is too large or too small.
func compareNumbers(a, b any) (int, error) {
	x, xInt := a.(int)
	y, yInt := b.(int)
	if xInt && yInt {
		return cmp.Compare(x, y), nil
	}
	p, err := newDecimal(a)
	if err != nil {
		return 0, err
	}
	q, err := newDecimal(b)
	if err != nil {
		return 0, err
	}
	return p.compare(q), nil
}

// newDecimal returns the exact value of a number.
func newDecimal(v any) (decimal, error) {
	switch v := v.(type) {
	case int:
		return parseDecimal(strconv.Itoa(v))
	case float64:
		return parseDecimal(strconv.FormatFloat(v, 'g', -1, 64))
	case json.Number:
		return parseDecimal(string(v))
	default:
		return decimal{}, fmt.Errorf("%s is not a number", Describe(v))
	}
}

// parseDecimal reads a number in the grammar of JSON.
func parseDecimal(text string) (decimal, error) {
	var d decimal
	text, d.negative = strings.CutPrefix(text, "-")
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(text), "e")
	if scientific {
		power, err := strconv.ParseInt(exponent, 10, 32)
		if err != nil {
			return decimal{}, fmt.Errorf("the number %.40s is too large or too small", text)
		}
		d.point = power
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	d.point += int64(len(whole))
	d.digits = strings.TrimLeft(digits, "0")
	d.point -= int64(len(digits) - len(d.digits))
	d.digits = strings.TrimRight(d.digits, "0")
	if d.digits == "" {
		return decimal{}, nil
	}
	return d, nil
}

// compare is as cmp.Compare.
func (d decimal) compare(other decimal) int {
	if c := cmp.Compare(d.sign(), other.sign()); c != 0 {
		return c
	}
	size := cmp.Or(cmp.Compare(d.point, other.point), strings.Compare(d.digits, other.digits))
	return size * d.sign()
}

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	default:
		return 1
	}
}
