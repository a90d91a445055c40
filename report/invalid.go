package report

import "fmt"

// An InvalidError says what is wrong with one field of a plan or configuration,
// before any request is made. A front end that gives fields names of its own
// finds the field with errors.As. Errors join one InvalidError for each fault.
type InvalidError struct {
	Field string // for example "Images" or "SourceTag"
	// Entry is the place in a list, counted from 1; 0: the field as a whole.
	Entry int
	// Line and Column are the place in a document, counted from 1; 0: not known.
	Line, Column int
	// Missing is true where nothing was given at all.
	Missing bool
	Problem string // what is wrong and what to write; holds no secret
}

// Error returns for example "Tenants: entry 2, line 5, column 3: token: missing".
func (e *InvalidError) Error() string { return e.Field + ": " + e.Where() + e.Problem }

// Where returns the place within the field, with a colon behind it; empty: the
// field as a whole.
func (e *InvalidError) Where() string {
	text, sep := "", ""
	add := func(name string, n int) {
		if n > 0 {
			text += fmt.Sprintf("%s%s %d", sep, name, n)
			sep = ", "
		}
	}
	add("entry", e.Entry)
	add("line", e.Line)
	add("column", e.Column)
	if text != "" {
		text += ": "
	}
	return text
}
