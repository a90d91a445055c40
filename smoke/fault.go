package smoke

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// maxFaults is how many faults of one file are told. A file that is no suite at
// all must not fill a log.
const maxFaults = 50

// excerpt is how much of a faulty line is shown on either side of the fault, in
// characters.
const excerpt = 70

// A FileError is one fault of a suite file, at its place.
type FileError struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in characters
	Message string
	// Source is the faulty line, sanitised and cut to what surrounds the fault;
	// empty when the file has no such line.
	Source string
	caret  int // characters of Source before the fault
}

// Error returns "file:line:column: message", and below it the line of the file
// with a caret under the fault.
func (e *FileError) Error() string {
	head := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Source == "" {
		return head
	}
	number := strconv.Itoa(e.Line)
	gutter := strings.Repeat(" ", len(number))
	return fmt.Sprintf("%s\n  %s | %s\n  %s | %s^", head, number, e.Source, gutter, strings.Repeat(" ", e.caret))
}

// A position is a place in a suite file: line and column from 1, the column in
// characters.
type position struct{ line, column int }

// A source is a suite file as text: it makes a fault out of a place and a
// message, and collects faults.
type source struct {
	name   string
	lines  [][]rune
	faults []*FileError
	more   int // faults beyond maxFaults
}

func newSource(name string, text []byte) *source {
	s := &source{name: untrusted.Line(name, 200)}
	for line := range strings.SplitSeq(string(text), "\n") {
		s.lines = append(s.lines, []rune(strings.TrimSuffix(line, "\r")))
	}
	return s
}

// fault records a fault at a place.
func (s *source) fault(at position, format string, args ...any) {
	if len(s.faults) == maxFaults {
		s.more++
		return
	}
	s.faults = append(s.faults, s.errorAt(at, fmt.Sprintf(format, args...)))
}

// errorAt makes the fault without recording it.
func (s *source) errorAt(at position, message string) *FileError {
	e := &FileError{
		File: s.name, Line: max(at.line, 1), Column: max(at.column, 1),
		Message: untrusted.Line(message, 2000),
	}
	if e.Line <= len(s.lines) {
		e.Source, e.caret = show(s.lines[e.Line-1], e.Column-1)
	}
	return e
}

// show returns a line as it may be printed, cut around the character at the
// given offset, and how many characters stand before that one.
func show(runes []rune, offset int) (string, int) {
	offset = min(offset, len(runes))
	start, end := max(0, offset-excerpt), min(len(runes), offset+excerpt)
	before := untrusted.Line(string(runes[start:offset]), 0)
	after := untrusted.Line(string(runes[offset:end]), 0)
	if start > 0 {
		before = untrusted.Ellipsis + before
	}
	if end < len(runes) {
		after += untrusted.Ellipsis
	}
	return untrusted.Line(before+after, 0), utf8.RuneCountInString(before)
}

// err returns all recorded faults in the order of the file as one error, nil
// when there is none.
func (s *source) err() error {
	slices.SortStableFunc(s.faults, func(a, b *FileError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for _, f := range s.faults {
		all = append(all, f)
	}
	if s.more > 0 {
		all = append(all, fmt.Errorf("%s: %d more faults", s.name, s.more))
	}
	return errors.Join(all...)
}
