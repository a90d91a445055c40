package smoke

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxErrors is how many errors of one file are reported. A file that is not a
// suite at all must not fill a log.
const maxErrors = 50

// excerpt is how much of an invalid line is shown on either side of the error,
// in characters.
const excerpt = 70

// A FileError is one error in a suite file, at its place.
type FileError struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in characters
	Message string
	// Source is the line, sanitised and cut to what surrounds the error; empty
	// when the file has no such line, or is not a suite: it may be anything then,
	// with secrets in it.
	Source string
	caret  int // characters of Source before the error
}

// Error returns "file:line:column: message", and below it the line of the file
// with a caret under the error.
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

func at(n *yaml.Node) position { return position{n.Line, n.Column} }

// A suiteFile is a suite file as text, and what is wrong with it.
type suiteFile struct {
	name   string
	quotes bool // it is a suite, so that its lines may be shown
	lines  [][]rune
	errs   []*FileError
	more   int // errors beyond maxErrors
}

func newSuiteFile(name string, text []byte) *suiteFile {
	f := &suiteFile{name: untrusted.Line(name, 200)}
	for line := range strings.SplitSeq(string(text), "\n") {
		f.lines = append(f.lines, []rune(strings.TrimSuffix(line, "\r")))
	}
	return f
}

// invalid records an error at a place.
func (f *suiteFile) invalid(p position, format string, args ...any) {
	if len(f.errs) == maxErrors {
		f.more++
		return
	}
	f.errs = append(f.errs, f.errorAt(p, fmt.Sprintf(format, args...)))
}

// errorAt makes an error without recording it.
func (f *suiteFile) errorAt(p position, message string) *FileError {
	e := &FileError{
		File: f.name, Line: max(p.line, 1), Column: max(p.column, 1),
		Message: untrusted.Line(message, 2000),
	}
	if f.quotes && e.Line <= len(f.lines) {
		e.Source, e.caret = around(f.lines[e.Line-1], e.Column-1)
	}
	return e
}

// inScalar returns the place of the character at an offset of a scalar's value
// where the value stands in one line as it is; else where the scalar begins.
func (f *suiteFile) inScalar(n *yaml.Node, offset int) position {
	p := at(n)
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		p.column++
	}
	if n.Line <= len(f.lines) {
		line := f.lines[n.Line-1]
		if value := []rune(n.Value); slices.Equal(line[min(p.column-1, len(line)):min(p.column-1+len(value), len(line))], value) {
			return position{p.line, p.column + min(offset, len(value))}
		}
	}
	return at(n)
}

// around returns a line as it may be printed, cut around the character at the
// given offset, and how many characters stand before that one.
func around(line []rune, offset int) (string, int) {
	offset = min(offset, len(line))
	start, end := max(0, offset-excerpt), min(len(line), offset+excerpt)
	before := untrusted.Line(string(line[start:offset]), 0)
	after := untrusted.Line(string(line[offset:end]), 0)
	if start > 0 {
		before = untrusted.Ellipsis + before
	}
	if end < len(line) {
		after += untrusted.Ellipsis
	}
	return untrusted.Line(before+after, 0), utf8.RuneCountInString(before)
}

// err returns all recorded errors in the order of the file as one, nil when
// there is none.
func (f *suiteFile) err() error {
	slices.SortStableFunc(f.errs, func(a, b *FileError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for _, e := range f.errs {
		all = append(all, e)
	}
	if f.more > 0 {
		all = append(all, fmt.Errorf("%s: %s", f.name, report.Count(f.more, "more error")))
	}
	return errors.Join(all...)
}
