package expr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Limits of one evaluation. They are far beyond what an honest expectation needs
// and keep the worst one under a fraction of a second.
const (
	maxElements = 10_000    // of an array that a list function visits
	maxSteps    = 2_000_000 // nodes visited, and 64 bytes of text each
	stepBytes   = 64
	checkEvery  = 4096 // steps between two looks at the context
)

// A LimitError says that an expression could not be evaluated, because that would
// take more than is allowed, or because the context ended. It says nothing
// against the answer.
type LimitError struct{ Reason, Hint string }

// Error returns the reason.
func (e *LimitError) Error() string { return e.Reason }

// An Env gives the names of an expression their values on one answer: nil, bool,
// int, float64, [json.Number], string, []any, map[string]any, or map[string]string
// for the header. Its errors come back from the evaluation as they are.
type Env interface {
	Value(name string) (any, error)
}

// An Evaluation gives expressions their values over one Env, all of them within
// one budget. It is not safe for concurrent use.
type Evaluation struct {
	ctx      context.Context // nil: the budget alone ends it
	env      Env
	steps    int
	elements []any               // what # stands for, innermost last
	shows    func(string) string // nil: texts are shown as they are
}

// NewEvaluation returns an evaluation whose budget is whole.
func NewEvaluation(env Env) *Evaluation { return &Evaluation{env: env} }

// Within makes the evaluation end with ctx, too.
func (e *Evaluation) Within(ctx context.Context) *Evaluation {
	e.ctx = ctx
	return e
}

// Showing makes errors show the texts of the answer through a function: what hides
// secrets must see them before they are quoted.
func (e *Evaluation) Showing(text func(string) string) *Evaluation {
	e.shows = text
	return e
}

// describe is [Describe] for an error.
func (e *Evaluation) describe(v any) string {
	if text, ok := v.(string); ok && e.shows != nil {
		v = e.shows(text)
	}
	return Describe(v)
}

// Element evaluates an expression of [CompileElement] on an element.
func (e *Evaluation) Element(x *Expr, element any) (any, error) {
	e.elements = append(e.elements, element)
	defer func() { e.elements = e.elements[:len(e.elements)-1] }()
	return e.value(x.node)
}

// Value evaluates an expression. The error is a [*LimitError], one of the Env, or
// says what in the answer makes the expression undecidable.
func (e *Evaluation) Value(x *Expr) (any, error) { return e.value(x.node) }

// True evaluates a condition. Where there is an error, it is false.
func (e *Evaluation) True(x *Expr) (bool, error) { return e.truth(x.node) }

// Unmet returns the first clause of a condition that is not true, and the error
// where it could not be decided; nil when all are true.
func (e *Evaluation) Unmet(x *Expr) (*Expr, error) {
	for _, clause := range x.clauses() {
		if ok, err := e.truth(clause.node); err != nil || !ok {
			return clause, err
		}
	}
	return nil, nil
}

// errAbsent ends an optional chain (a?.b) at an absent value.
var errAbsent = errors.New("absent")

// truth evaluates a node that must be true or false.
func (e *Evaluation) truth(n ast.Node) (bool, error) {
	v, err := e.value(n)
	if err != nil {
		return false, err
	}
	truth, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s is %s, where true or false is needed", n, e.describe(v))
	}
	return truth, nil
}

// spend pays for n steps.
func (e *Evaluation) spend(n int) error {
	before := e.steps
	e.steps += n
	if e.steps > maxSteps {
		return &LimitError{Reason: "evaluating the expectation on this answer takes too many steps", Hint: "ask for less at a time, or write a simpler expectation"}
	}
	if before/checkEvery != e.steps/checkEvery && e.ctx != nil && e.ctx.Err() != nil {
		return &LimitError{Reason: "stopped: " + context.Cause(e.ctx).Error()}
	}
	return nil
}

// value evaluates any node.
func (e *Evaluation) value(n ast.Node) (any, error) {
	if err := e.spend(1); err != nil {
		return nil, err
	}
	switch n := n.(type) {
	case *ast.NilNode:
		return nil, nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.IntegerNode:
		return n.Value, nil
	case *ast.FloatNode:
		return n.Value, nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IdentifierNode:
		return e.env.Value(n.Value)
	case *ast.PointerNode:
		return e.elements[len(e.elements)-1], nil
	case *ast.UnaryNode:
		return e.unary(n)
	case *ast.BinaryNode:
		return e.binary(n)
	case *ast.MemberNode:
		return e.member(n)
	case *ast.ChainNode:
		v, err := e.value(n.Node)
		if errors.Is(err, errAbsent) {
			return nil, nil
		}
		return v, err
	case *ast.CallNode:
		return e.call(n)
	case *ast.BuiltinNode:
		return e.list(n)
	case *ast.ArrayNode:
		return e.array(n)
	default:
		return nil, fmt.Errorf("%s is not part of the suite language", n)
	}
}

func (e *Evaluation) unary(n *ast.UnaryNode) (any, error) {
	if n.Operator != "-" {
		truth, err := e.truth(n.Node)
		return !truth, err
	}
	v, err := e.value(n.Node)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case int:
		return -v, nil
	case float64:
		return -v, nil
	case json.Number:
		if positive, negative := strings.CutPrefix(string(v), "-"); negative {
			return json.Number(positive), nil
		}
		return "-" + v, nil
	default:
		return nil, fmt.Errorf("%s is %s, which has no opposite", n.Node, e.describe(v))
	}
}

func (e *Evaluation) binary(n *ast.BinaryNode) (any, error) {
	switch n.Operator {
	case "&&", "and", "||", "or":
		return e.junction(n)
	}
	left, err := e.value(n.Left)
	if err != nil {
		return nil, err
	}
	right, err := e.value(n.Right)
	if err != nil {
		return nil, err
	}
	switch n.Operator {
	case "==":
		return e.equal(left, right)
	case "!=":
		same, err := e.equal(left, right)
		return !same, err
	case "<", "<=", ">", ">=":
		return e.ordered(n, left, right)
	case "in":
		return e.in(n, left, right)
	default:
		return e.textual(n, left, right)
	}
}

// junction is "and" and "or"; the right side counts only where the left one
// does not decide.
func (e *Evaluation) junction(n *ast.BinaryNode) (any, error) {
	left, err := e.truth(n.Left)
	or := n.Operator == "||" || n.Operator == "or"
	if err != nil || left == or {
		return left, err
	}
	return e.truth(n.Right)
}

// equal compares two values of any kind; different kinds differ.
func (e *Evaluation) equal(a, b any) (bool, error) {
	if err := e.spend(1); err != nil {
		return false, err
	}
	if isNumber(a) && isNumber(b) {
		if err := e.spend((digits(a) + digits(b)) / stepBytes); err != nil {
			return false, err
		}
		c, err := compareNumbers(a, b)
		return err == nil && c == 0, err
	}
	switch a := a.(type) {
	case nil:
		return b == nil, nil
	case bool:
		b, ok := b.(bool)
		return ok && a == b, nil
	case string:
		b, ok := b.(string)
		if !ok || len(a) != len(b) {
			return false, nil
		}
		return a == b, e.spend(len(a) / stepBytes)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false, nil
		}
		for i := range a {
			if same, err := e.equal(a[i], b[i]); !same || err != nil {
				return false, err
			}
		}
		return true, nil
	case map[string]any:
		return e.equalObjects(a, b)
	case map[string]string:
		b, ok := b.(map[string]string)
		return ok && maps.Equal(a, b), nil
	default:
		return false, nil
	}
}

func (e *Evaluation) equalObjects(a map[string]any, other any) (bool, error) {
	b, ok := other.(map[string]any)
	if !ok || len(a) != len(b) {
		return false, nil
	}
	for key, v := range a {
		w, ok := b[key]
		if !ok {
			return false, nil
		}
		if same, err := e.equal(v, w); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

// digits returns the length of a number that may be long.
func digits(v any) int {
	n, _ := v.(json.Number)
	return len(n)
}

// ordered is <, <=, > and >= of numbers or of texts.
func (e *Evaluation) ordered(n *ast.BinaryNode, left, right any) (any, error) {
	var c int
	a, aText := left.(string)
	b, bText := right.(string)
	switch {
	case aText && bText:
		c = strings.Compare(a, b)
		if err := e.spend(min(len(a), len(b)) / stepBytes); err != nil {
			return nil, err
		}
	case isNumber(left) && isNumber(right):
		if err := e.spend((digits(left) + digits(right)) / stepBytes); err != nil {
			return nil, err
		}
		var err error
		if c, err = compareNumbers(left, right); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s can't be decided: %s is %s and %s is %s", n, n.Left, e.describe(left), n.Right, e.describe(right))
	}
	switch n.Operator {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	default:
		return c >= 0, nil
	}
}

// in finds an element in an array, or a key in an object.
func (e *Evaluation) in(n *ast.BinaryNode, left, right any) (any, error) {
	if elements, ok := right.([]any); ok {
		for _, element := range elements {
			if same, err := e.equal(element, left); same || err != nil {
				return same, err
			}
		}
		return false, nil
	}
	key, isText := left.(string)
	switch object := right.(type) {
	case map[string]any:
		if _, found := object[key]; isText {
			return found, nil
		}
	case map[string]string:
		if _, found := object[key]; isText {
			return found, nil
		}
	}
	return nil, fmt.Errorf("%s can't be decided: %s is %s and %s is %s", n, n.Left, e.describe(left), n.Right, e.describe(right))
}

// textual is contains, startsWith and endsWith, of texts only.
func (e *Evaluation) textual(n *ast.BinaryNode, left, right any) (any, error) {
	a, ok := left.(string)
	if !ok {
		return nil, fmt.Errorf("%s is %s, where text is needed", n.Left, e.describe(left))
	}
	b, ok := right.(string)
	if !ok {
		return nil, fmt.Errorf("%s is %s, where text is needed", n.Right, e.describe(right))
	}
	if err := e.spend((len(a) + len(b)) / stepBytes); err != nil {
		return nil, err
	}
	switch n.Operator {
	case "contains":
		return strings.Contains(a, b), nil
	case "startsWith":
		return strings.HasPrefix(a, b), nil
	case "endsWith":
		return strings.HasSuffix(a, b), nil
	default:
		return nil, fmt.Errorf("%s is not part of the suite language", n)
	}
}

// member is base.name, base["name"] and base[index]. A key that an object does
// not have is null; everything else that is not there is an error.
func (e *Evaluation) member(n *ast.MemberNode) (any, error) {
	base, err := e.value(n.Node)
	if err != nil {
		return nil, err
	}
	if base == nil && n.Optional {
		return nil, errAbsent
	}
	property, err := e.value(n.Property)
	if err != nil {
		return nil, err
	}
	name, isName := property.(string)
	switch base := base.(type) {
	case map[string]any:
		if isName {
			return base[name], nil
		}
	case map[string]string:
		if isName {
			return base[name], nil
		}
	case []any:
		if i, ok := index(property); ok {
			if i < 0 {
				i += len(base)
			}
			if i < 0 || i >= len(base) {
				return nil, fmt.Errorf("%s is %s: there is no element %s", n.Node, e.describe(base), e.describe(property))
			}
			return base[i], nil
		}
	}
	return nil, fmt.Errorf("%s is %s: it has no %s", n.Node, e.describe(base), e.describe(property))
}

// index returns a value as the index of an array.
func index(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case json.Number:
		i, err := v.Int64()
		return int(i), err == nil
	default:
		return 0, false
	}
}

// call is one of the functions.
func (e *Evaluation) call(n *ast.CallNode) (any, error) {
	v, err := e.value(n.Arguments[0])
	if err != nil {
		return nil, err
	}
	name := n.Callee.(*ast.IdentifierNode).Value
	switch name {
	case "is_map":
		_, ok := v.(map[string]any)
		return ok, nil
	case "is_array":
		_, ok := v.([]any)
		return ok, nil
	}
	text, isText := v.(string)
	if isText {
		if err := e.spend(len(text) / stepBytes * 8); err != nil {
			return nil, err
		}
	}
	if name == "len" {
		return e.length(n, v)
	}
	if !isText {
		return nil, fmt.Errorf("%s is %s, where text is needed", n.Arguments[0], e.describe(v))
	}
	switch name {
	case "lower":
		return strings.ToLower(text), nil
	case "upper":
		return strings.ToUpper(text), nil
	default:
		return strings.TrimSpace(text), nil
	}
}

// length is the number of elements, keys or characters.
func (e *Evaluation) length(n *ast.CallNode, v any) (any, error) {
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v), nil
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	case map[string]string:
		return len(v), nil
	default:
		return nil, fmt.Errorf("%s is %s, which has no length", n.Arguments[0], e.describe(v))
	}
}

// list is one of the functions that visit the elements of an array.
func (e *Evaluation) list(n *ast.BuiltinNode) (any, error) {
	v, err := e.value(n.Arguments[0])
	if err != nil {
		return nil, err
	}
	elements, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is %s, where an array is needed", n.Arguments[0], e.describe(v))
	}
	if len(elements) > maxElements {
		return nil, &LimitError{
			Reason: fmt.Sprintf("%s has %s elements; an expectation can visit at most %s", n.Arguments[0], report.Thousands(len(elements)), report.Thousands(maxElements)),
			Hint:   "ask for fewer at a time, for example with a query",
		}
	}
	predicate := n.Arguments[1].(*ast.PredicateNode).Node
	e.elements = append(e.elements, nil)
	defer func() { e.elements = e.elements[:len(e.elements)-1] }()
	out := []any{} // of map and filter
	for _, element := range elements {
		e.elements[len(e.elements)-1] = element
		if n.Name == "map" {
			v, err := e.value(predicate)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
			continue
		}
		is, err := e.truth(predicate)
		switch {
		case err != nil:
			return nil, err
		case n.Name == "any" && is:
			return true, nil
		case n.Name == "all" && !is, n.Name == "none" && is:
			return false, nil
		case n.Name == "filter" && is:
			out = append(out, element)
		}
	}
	if n.Name == "map" || n.Name == "filter" {
		return out, nil
	}
	return n.Name != "any", nil
}

func (e *Evaluation) array(n *ast.ArrayNode) (any, error) {
	out := make([]any, 0, len(n.Nodes))
	for _, node := range n.Nodes {
		v, err := e.value(node)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
