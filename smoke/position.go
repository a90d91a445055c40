package smoke

import "go.yaml.in/yaml/v3"

// inScalar returns the place in the file of the character at the given offset
// of a scalar's value. It follows the file beside the value, because quotes,
// escapes, folds and indentation are in the one and not in the other. Where the
// two can't be brought together it returns where the scalar begins.
func (s *source) inScalar(n *yaml.Node, offset int) position {
	start := position{n.Line, n.Column}
	cursor := &cursor{lines: s.lines, line: n.Line - 1, column: n.Column - 1, indent: -1}
	cursor.enter(n.Style)
	for i, want := range []rune(n.Value) {
		if !cursor.align(want, n.Style) {
			return start
		}
		if i == offset {
			return cursor.position()
		}
		cursor.step(want, n.Style)
	}
	return cursor.position()
}

// A cursor walks over the text of a file, character by character.
type cursor struct {
	lines        [][]rune
	line, column int // from 0
	indent       int // of a block scalar: that of its first line; else -1
}

func (c *cursor) position() position { return position{c.line + 1, c.column + 1} }

// rest is what is left of the present line.
func (c *cursor) rest() []rune {
	if c.line >= len(c.lines) {
		return nil
	}
	line := c.lines[c.line]
	return line[min(c.column, len(line)):]
}

// enter moves from where a scalar is said to begin to its first character.
func (c *cursor) enter(style yaml.Style) {
	switch {
	case style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		c.nextLine()
		c.indent = c.column
	case style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		c.column++
	}
}

// nextLine moves to the first character after the indentation of the next line.
func (c *cursor) nextLine() {
	c.line++
	c.column = 0
	for rest := c.rest(); c.column < len(rest) && isBlank(rest[c.column]); {
		c.column++
	}
	if c.indent >= 0 {
		c.column = min(c.column, c.indent)
	}
}

// align moves to the character that stands for want. It reports false when
// something else is there.
func (c *cursor) align(want rune, style yaml.Style) bool {
	for range c.lines {
		rest := c.rest()
		switch {
		case len(rest) > 0 && (rest[0] == want || rest[0] == '\\' && style&yaml.DoubleQuotedStyle != 0):
			return true
		case want == '\n' && c.line < len(c.lines), want == ' ' && allBlank(rest):
			return true // the end of a line stands for a break or for a folded blank
		case allBlank(rest) && c.line+1 < len(c.lines):
			c.nextLine()
		default:
			return false
		}
	}
	return false
}

// step moves past the character that stands for want.
func (c *cursor) step(want rune, style yaml.Style) {
	rest := c.rest()
	switch {
	case len(rest) == 0 || rest[0] != want && allBlank(rest):
		c.nextLine()
	case rest[0] == '\\' && style&yaml.DoubleQuotedStyle != 0:
		c.column += escapeLength(rest)
	case rest[0] == '\'' && style&yaml.SingleQuotedStyle != 0:
		c.column += 2
	default:
		c.column++
	}
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

// allBlank reports whether nothing but blanks is left of a line.
func allBlank(rest []rune) bool {
	for _, r := range rest {
		if !isBlank(r) {
			return false
		}
	}
	return true
}

// escapeLength returns how many characters an escape of a double-quoted scalar takes.
func escapeLength(rest []rune) int {
	if len(rest) < 2 {
		return 1
	}
	switch rest[1] {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	default:
		return 2
	}
}
