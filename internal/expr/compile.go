package expr

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
)

// MaxLength is the length of the longest expression, in bytes.
const MaxLength = 4096

// Limits of one expression.
const (
	maxNodes   = 256 // of the syntax tree, where a part that is used twice counts twice
	maxNesting = 2   // predicates in each other
	maxErrors  = 10  // that are reported of one expression
)

// listFunctions visit the elements of an array with a predicate.
var listFunctions = []string{"all", "any", "filter", "map", "none"}

// functions are all the others, with their types for the checker.
var functions = map[string]any{
	"is_map":   new(func(any) bool),
	"is_array": new(func(any) bool),
	"len":      new(func(any) int),
	"lower":    new(func(string) string),
	"upper":    new(func(string) string),
	"trim":     new(func(string) string),
}

// operators of two sides.
var operators = []string{"==", "!=", "<", "<=", ">", ">=", "&&", "and", "||", "or", "in", "contains", "startsWith", "endsWith"}

// names are what every expression can look at: the answer, and what the run
// knows. Saved values come on top.
var names = map[string]types.Type{
	"status": types.Int, "elapsed": types.Int, "body": types.String,
	"header": types.TypeOf(map[string]string(nil)), "json": types.Any,
	"probe": types.String, "sha": types.String, "tenant": types.String,
}

// keywords are the other words that can't be the name of a saved value.
var keywords = []string{
	"and", "contains", "else", "endsWith", "false", "if", "in", "let", "matches",
	"nil", "not", "null", "or", "startsWith", "true",
}

// Reserved reports whether a name has a meaning of its own, so that it can't be
// that of a saved value.
func Reserved(name string) bool {
	_, isName := names[name]
	_, isFunction := functions[name]
	return isName || isFunction || slices.Contains(listFunctions, name) || slices.Contains(keywords, name)
}

// An Expr is a compiled expression. It never changes.
type Expr struct{ node ast.Node }

// String returns the expression in its canonical form.
func (x *Expr) String() string { return x.node.String() }

// A CompileError says what is wrong with an expression, and where.
type CompileError struct {
	Offset  int // of the character, from 0
	Message string
}

// Error returns the message.
func (e *CompileError) Error() string { return e.Message }

// CompileCondition compiles an expression that is true or false, over the answer
// and the saved values of the given names.
func CompileCondition(text string, saved ...string) (*Expr, []*CompileError) {
	return compile(text, saved, true)
}

// CompileValue compiles an expression of any type.
func CompileValue(text string, saved ...string) (*Expr, []*CompileError) {
	return compile(text, saved, false)
}

// CompileElement compiles an expression about one element of a list, as it would
// stand inside of a list function: .name is a member of the element, # the element
// itself. Where condition is set it must be true or false.
func CompileElement(text string, condition bool) (*Expr, []*CompileError) {
	if strings.TrimSpace(text) == "" {
		return nil, failure("the expression is empty")
	}
	function := "map"
	if condition {
		function = "filter"
	}
	before := function + "(json, "
	// The line break ends a comment that the text may end with.
	x, errs := compile(before+text+"\n)", nil, false)
	for _, err := range errs {
		err.Offset = min(max(0, err.Offset-len(before)), utf8.RuneCountInString(text))
	}
	if errs != nil {
		return nil, errs
	}
	if n, ok := x.node.(*ast.BuiltinNode); ok && n.Name == function && isName(n.Arguments[0], "json") {
		return &Expr{n.Arguments[1].(*ast.PredicateNode).Node}, nil
	}
	return nil, failure("the expression can't be parsed: it closes a bracket that it did not open")
}

// compile parses and checks an expression. What the language leaves out is
// refused between the two, before anything else visits the tree: a chain of
// comparisons (a < b < c) shares its middle, so that a small text can be a huge
// tree.
func compile(text string, saved []string, condition bool) (x *Expr, errs []*CompileError) {
	defer func() {
		if p := recover(); p != nil { // expr-lang's
			x, errs = nil, failure("the expression can't be parsed")
		}
	}()
	switch {
	case strings.TrimSpace(text) == "":
		return nil, failure("the expression is empty")
	case len(text) > MaxLength:
		return nil, failure(fmt.Sprintf("the expression has %d bytes; at most %d are allowed", len(text), MaxLength))
	case !utf8.ValidString(text):
		return nil, failure("the expression is not valid UTF-8")
	}
	config := newConfig(saved, condition)
	tree, err := parser.ParseWithConfig(text, config)
	if err != nil {
		return nil, plainError(err)
	}
	r := &restriction{saved: saved}
	r.visit(tree.Node, 0)
	if len(r.errs) > 0 {
		return nil, r.errs
	}
	if _, err := checker.Check(tree, config); err != nil {
		return nil, plainError(err)
	}
	x = &Expr{tree.Node}
	if condition && slices.ContainsFunc(x.clauses(), func(c *Expr) bool { return isName(c.node, "json") }) {
		return nil, failure("json is the whole answer, and neither true nor false; compare it, or a field of it")
	}
	return x, nil
}

// failure is one error about the expression as a whole.
func failure(message string) []*CompileError { return []*CompileError{{0, message}} }

// newConfig returns expr-lang's settings: our names, our functions, none of its own.
func newConfig(saved []string, condition bool) *conf.Config {
	env := make(types.Map, len(names)+len(saved))
	for _, name := range saved {
		env[name] = types.Any
	}
	maps.Copy(env, names)
	config := conf.CreateNew()
	config.WithEnv(env)
	config.MaxNodes = maxNodes
	for name := range config.Builtins {
		config.Disabled[name] = true
	}
	clear(config.Builtins)
	for name, signature := range functions {
		config.Functions[name] = &builtin.Function{Name: name, Types: []reflect.Type{reflect.TypeOf(signature).Elem()}}
	}
	config.ExpectAny = true
	if condition {
		config.Expect = reflect.Bool
	}
	return config
}

// plainError is an error of expr-lang in words for people who don't know it.
func plainError(err error) []*CompileError {
	var at *file.Error
	if errors.As(err, &at) {
		return []*CompileError{{at.From, plainMessage(at.Message)}}
	}
	if kind, found := strings.CutPrefix(err.Error(), "expected bool, but got "); found {
		return failure("an expectation must be true or false, but this is of type " + kind)
	}
	return failure(err.Error())
}

// unexpected is how expr-lang speaks of a token.
var unexpected = regexp.MustCompile(`^unexpected token \w+\("(.*)"\)$`)

func plainMessage(message string) string {
	if message == "unexpected token EOF" || message == "unexpected end of expression" {
		return "the expression ends too early; is something left open, or a side missing?"
	}
	if token := unexpected.FindStringSubmatch(message); token != nil {
		message = "unexpected " + token[1]
		if token[1] == "=" {
			message += "; to compare, write =="
		}
	}
	return message
}
