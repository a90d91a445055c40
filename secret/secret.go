// Package secret holds values that must never be printed.
//
// It takes tokens and passwords at the border where they enter the program and
// gives back a [Value] that every verb, JSON encoder and logger shows as "***",
// and a [Redactor] that removes them, in the encodings in which they could come
// back, from text that somebody else wrote.
package secret

import (
	"fmt"
	"io"
)

// Mask is what stands in place of a secret wherever it would have been shown.
const Mask = "***"

// A Value is a secret string. The zero Value is the absent secret.
//
// A Value prints as [Mask] in every way that Go prints things; the only way to
// the text is [Value.Reveal], so that its uses can be found and counted.
type Value struct{ text string }

// New returns the secret that holds text. An empty text is the absent secret.
func New(text string) Value { return Value{text: text} }

// Reveal returns the secret itself: for a header that is about to be sent, and
// nothing else.
func (v Value) Reveal() string { return v.text }

// IsZero reports whether the secret is absent. It also makes encoding/json's
// omitzero leave it out.
func (v Value) IsZero() bool { return v.text == "" }

// String returns [Mask], also for the absent secret: whether one is set is
// nobody's business either.
func (v Value) String() string { return Mask }

// GoString returns [Mask].
func (v Value) GoString() string { return Mask }

// Format writes [Mask] for every verb and flag.
func (v Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Mask) }

// MarshalText returns [Mask]; it serves JSON, YAML and XML encoders and log/slog
// alike. (A LogValue method would say the same and link all of log/slog.)
func (v Value) MarshalText() ([]byte, error) { return []byte(Mask), nil }
