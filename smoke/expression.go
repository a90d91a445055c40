package smoke

import (
	"errors"
	"fmt"
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

// Bounds of one expression.
const (
	maxExpression = 4096 // bytes
	maxNodes      = 256  // of the syntax tree, where a part that is used twice counts twice
	maxNesting    = 2    // predicates in each other (design)
	maxExprFaults = 10   // that are told of one expression
)

// listBuiltins walk over an array with a predicate (design).
var listBuiltins = []string{"all", "any", "filter", "map", "none"}

// functions are all the others (design), with their types for the checker.
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

// answerNames are what every expression can look at: the answer and the names
// that placeholders have too.
var answerNames = map[string]types.Type{
	"status": types.Int, "elapsed": types.Int, "body": types.String,
	"header": types.TypeOf(map[string]string(nil)), "json": types.Any,
	"probe": types.String, "sha": types.String, "tenant": types.String,
}

// reserved are the other words that can't be the name of a saved value.
var reserved = []string{
	"and", "contains", "else", "endsWith", "false", "if", "in", "let", "matches",
	"nil", "not", "null", "or", "startsWith", "true",
}

// An exprFault is a fault at the character with the given offset of an expression.
type exprFault struct {
	offset  int
	message string
}

// compile parses and type-checks an expression over the answer and the given
// saved values. expr-lang parses and checks it; what the suite language leaves
// out is refused in between, before anything walks over the tree: a comparison
// chain (a < b < c) shares its middle, so that a small text can be a huge tree.
func compile(text string, saved []string, wantBool bool) (root ast.Node, faults []exprFault) {
	defer func() {
		if p := recover(); p != nil {
			root, faults = nil, []exprFault{{0, "the expression can't be parsed"}}
		}
	}()
	switch {
	case strings.TrimSpace(text) == "":
		return nil, []exprFault{{0, "the expression is empty"}}
	case len(text) > maxExpression:
		return nil, []exprFault{{0, fmt.Sprintf("the expression has %d bytes; at most %d are allowed", len(text), maxExpression)}}
	case !utf8.ValidString(text):
		return nil, []exprFault{{0, "the expression is not valid UTF-8"}}
	}
	config := newConfig(saved, wantBool)
	tree, err := parser.ParseWithConfig(text, config)
	if err != nil {
		return nil, []exprFault{faultOf(err)}
	}
	r := &restriction{saved: saved}
	r.walk(tree.Node, 0)
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	if _, err := checker.Check(tree, config); err != nil {
		return nil, []exprFault{faultOf(err)}
	}
	if wantBool && slices.ContainsFunc(clauses(tree.Node), func(n ast.Node) bool { return isName(n, "json") }) {
		return nil, []exprFault{{0, "json is the whole answer, and neither true nor false; compare it, or a field of it"}}
	}
	return tree.Node, nil
}

// newConfig returns expr-lang's settings: our names, our functions, none of its own.
func newConfig(saved []string, wantBool bool) *conf.Config {
	env := make(types.Map, len(answerNames)+len(saved))
	for _, name := range saved {
		env[name] = types.Any
	}
	for name, t := range answerNames {
		env[name] = t
	}
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
	if wantBool {
		config.Expect = reflect.Bool
	}
	return config
}

// faultOf is an error of expr-lang as a fault.
func faultOf(err error) exprFault {
	var at *file.Error
	if errors.As(err, &at) {
		return exprFault{at.From, plainMessage(at.Message)}
	}
	message, found := strings.CutPrefix(err.Error(), "expected bool, but got ")
	if found {
		return exprFault{0, fmt.Sprintf("an expectation must be true or false, but this is of type %s", message)}
	}
	return exprFault{0, err.Error()}
}

// unexpected is how expr-lang speaks of a token.
var unexpected = regexp.MustCompile(`^unexpected token \w+\("(.*)"\)$`)

// plainMessage says a message of expr-lang's parser in words for people who
// don't know its tokens.
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

// A restriction walks over a tree and refuses what the suite language leaves out.
type restriction struct {
	saved  []string
	nodes  int
	faults []exprFault
}

func (r *restriction) refuse(n ast.Node, format string, args ...any) {
	if len(r.faults) == maxExprFaults {
		return
	}
	r.faults = append(r.faults, exprFault{n.Location().From, fmt.Sprintf(format, args...)})
}

// walk looks at a node; depth is the number of predicates around it.
func (r *restriction) walk(n ast.Node, depth int) {
	r.nodes++
	if r.nodes > maxNodes {
		if r.nodes == maxNodes+1 {
			r.refuse(n, "the expression is too large: it has more than %d parts", maxNodes)
		}
		return
	}
	switch n := n.(type) {
	case *ast.NilNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
	case *ast.IdentifierNode:
		r.name(n, depth)
	case *ast.PointerNode:
		if n.Name != "" {
			r.refuse(n, "#%s is not part of the suite language", n.Name)
		}
	case *ast.UnaryNode:
		if n.Operator == "+" {
			r.refuse(n, "arithmetic is not part of the suite language")
		}
		r.walk(n.Node, depth)
	case *ast.BinaryNode:
		if r.operator(n) {
			r.walk(n.Left, depth)
			r.walk(n.Right, depth)
		}
	case *ast.ChainNode:
		r.walk(n.Node, depth)
	case *ast.MemberNode:
		r.member(n)
		r.walk(n.Node, depth)
		r.walk(n.Property, depth)
	case *ast.ArrayNode:
		r.all(n.Nodes, depth)
	case *ast.CallNode:
		r.call(n)
		r.all(n.Arguments, depth)
	case *ast.BuiltinNode:
		if !slices.Contains(listBuiltins, n.Name) {
			r.refuse(n, "%s() is not part of the suite language; there are %s", n.Name, callNames())
		}
		r.all(n.Arguments, depth)
	case *ast.PredicateNode:
		if depth == maxNesting {
			r.refuse(n, "predicates can be nested %d deep at most", maxNesting)
		}
		r.walk(n.Node, depth+1)
	default:
		r.refuse(n, "%s", refusal(n))
	}
}

func (r *restriction) all(nodes []ast.Node, depth int) {
	for _, n := range nodes {
		r.walk(n, depth)
	}
}

// refusal says why a kind of node is left out.
func refusal(n ast.Node) string {
	switch n.(type) {
	case *ast.ConditionalNode:
		return "conditions (? : and if) are not part of the suite language; write && and ||"
	case *ast.VariableDeclaratorNode, *ast.SequenceNode:
		return "let and ; are not part of the suite language; write one expression"
	case *ast.SliceNode:
		return "slices are not part of the suite language"
	case *ast.MapNode:
		return "objects can't be written in an expression; compare their members one by one"
	default:
		return "this is not part of the suite language"
	}
}

// name refuses names that stand for nothing.
func (r *restriction) name(n *ast.IdentifierNode, depth int) {
	if _, known := answerNames[n.Value]; known {
		if n.Value == "body" && depth > 0 {
			r.refuse(n, "body can't be used for each element of a list: it would be searched again for each")
		}
		return
	}
	if slices.Contains(r.saved, n.Value) {
		return
	}
	names := slices.Concat(sortedKeys(answerNames), r.saved)
	if n.Value == "null" {
		r.refuse(n, "unknown name null; write nil")
		return
	}
	r.refuse(n, "unknown name %s%s", n.Value, didYouMean(n.Value, names))
}

// operator refuses operators that cost too much, or that make a check lie. It
// reports whether there was nothing to refuse.
func (r *restriction) operator(n *ast.BinaryNode) bool {
	if slices.Contains(operators, n.Operator) {
		return true
	}
	switch n.Operator {
	case "??":
		r.refuse(n, "?? is not part of the suite language: an absent value would pass for the other one")
	case "..":
		r.refuse(n, "ranges (..) are not part of the suite language")
	case "matches":
		r.refuse(n, "matches is not part of the suite language; use contains, startsWith or endsWith")
	case "-":
		if m, ok := n.Left.(*ast.MemberNode); ok && isName(m.Node, "header") {
			r.refuse(n, `a name with a hyphen is written in brackets: header["content-type"]`)
			return false
		}
		fallthrough
	default:
		r.refuse(n, "arithmetic (%s) is not part of the suite language", n.Operator)
	}
	return false
}

// member refuses methods, and header names that can't be there.
func (r *restriction) member(n *ast.MemberNode) {
	name, ok := n.Property.(*ast.StringNode)
	if !ok || !isName(n.Node, "header") {
		return
	}
	if lower := strings.ToLower(name.Value); lower != name.Value {
		r.refuse(n, "header names are lower-case: write header[%q]", lower)
	}
}

// call refuses everything that is not one of our functions with its one argument.
func (r *restriction) call(n *ast.CallNode) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		r.refuse(n, "methods are not part of the suite language; there are %s", callNames())
		return
	}
	if _, known := functions[callee.Value]; !known {
		names := slices.Concat(sortedKeys(functions), listBuiltins)
		r.refuse(n, "%s() is not part of the suite language%s; there are %s", callee.Value, didYouMean(callee.Value, names), callNames())
		return
	}
	if len(n.Arguments) != 1 {
		r.refuse(n, "%s() takes one argument", callee.Value)
	}
}

// callNames lists all that can be called.
func callNames() string {
	names := slices.Concat(sortedKeys(functions), listBuiltins)
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// isName reports whether n is the given name.
func isName(n ast.Node, name string) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && id.Value == name
}

// clauses splits an expectation at its outermost "and": each clause can break
// on its own.
func clauses(n ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "&&" || b.Operator == "and") {
		return append(clauses(b.Left), clauses(b.Right)...)
	}
	return []ast.Node{n}
}

// wantsArray reports whether an expectation is about an answer that is an
// array: is_array(json), or a list builtin over json itself.
func wantsArray(n ast.Node) bool {
	found := false
	visit(n, func(n ast.Node) {
		switch n := n.(type) {
		case *ast.CallNode:
			found = found || isName(n.Callee, "is_array") && isName(n.Arguments[0], "json")
		case *ast.BuiltinNode:
			found = found || isName(n.Arguments[0], "json")
		}
	})
	return found
}

// pinsStatus reports whether an expectation holds for the given status alone.
func pinsStatus(n ast.Node, status int) bool {
	return slices.ContainsFunc(clauses(n), func(clause ast.Node) bool {
		b, ok := clause.(*ast.BinaryNode)
		if !ok || b.Operator != "==" {
			return false
		}
		left, right := b.Left, b.Right
		if isName(right, "status") {
			left, right = right, left
		}
		number, ok := right.(*ast.IntegerNode)
		return ok && isName(left, "status") && number.Value == status
	})
}

// visit calls f for n and every node below it.
func visit(n ast.Node, f func(ast.Node)) {
	f(n)
	for _, child := range children(n) {
		visit(child, f)
	}
}

// children returns the nodes right below n, of those that the suite language has.
func children(n ast.Node) []ast.Node {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return []ast.Node{n.Node}
	case *ast.BinaryNode:
		return []ast.Node{n.Left, n.Right}
	case *ast.ChainNode:
		return []ast.Node{n.Node}
	case *ast.MemberNode:
		return []ast.Node{n.Node, n.Property}
	case *ast.PredicateNode:
		return []ast.Node{n.Node}
	case *ast.ArrayNode:
		return n.Nodes
	case *ast.CallNode:
		return n.Arguments
	case *ast.BuiltinNode:
		return n.Arguments
	default:
		return nil
	}
}
