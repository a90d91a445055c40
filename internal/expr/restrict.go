package expr

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// A restriction visits a tree and refuses what the language leaves out.
type restriction struct {
	saved []string
	nodes int
	errs  []*CompileError
}

func (r *restriction) refuse(n ast.Node, format string, args ...any) {
	if len(r.errs) < maxErrors {
		r.errs = append(r.errs, &CompileError{n.Location().From, fmt.Sprintf(format, args...)})
	}
}

// visit looks at a node; depth is the number of predicates around it.
func (r *restriction) visit(n ast.Node, depth int) {
	r.nodes++
	if r.nodes > maxNodes {
		if r.nodes == maxNodes+1 {
			r.refuse(n, "the expression is too large: it has more than %d parts", maxNodes)
		}
		return
	}
	switch n := n.(type) {
	case *ast.NilNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.ArrayNode, *ast.ChainNode:
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
	case *ast.BinaryNode:
		if !r.operator(n) {
			return
		}
	case *ast.MemberNode:
		r.member(n)
	case *ast.CallNode:
		r.call(n)
	case *ast.BuiltinNode:
		if !slices.Contains(listFunctions, n.Name) {
			r.refuse(n, "%s() is not part of the suite language; there are %s", n.Name, strings.Join(callable(), ", "))
		}
	case *ast.PredicateNode:
		if depth == maxNesting {
			r.refuse(n, "predicates can be nested %d deep at most", maxNesting)
		}
		depth++
	default:
		r.refuse(n, "%s", refusal(n))
	}
	for _, child := range children(n) {
		r.visit(child, depth)
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
	if _, known := names[n.Value]; known {
		if n.Value == "body" && depth > 0 {
			r.refuse(n, "body can't be used for each element of a list: it would be searched again for each")
		}
		return
	}
	switch {
	case slices.Contains(r.saved, n.Value):
	case n.Value == "null":
		r.refuse(n, "unknown name null; write nil")
	default:
		known := slices.Concat(slices.Sorted(maps.Keys(names)), r.saved)
		r.refuse(n, "unknown name %s%s", n.Value, DidYouMean(n.Value, known))
	}
}

// operator refuses operators that cost too much, or that let a check pass where
// it should not. It reports whether there was nothing to refuse.
func (r *restriction) operator(n *ast.BinaryNode) bool {
	if slices.Contains(operators, n.Operator) {
		return true
	}
	member, isMember := n.Left.(*ast.MemberNode)
	switch {
	case n.Operator == "??":
		r.refuse(n, "?? is not part of the suite language: an absent value would pass for the other one")
	case n.Operator == "..":
		r.refuse(n, "ranges (..) are not part of the suite language")
	case n.Operator == "matches":
		r.refuse(n, "matches is not part of the suite language; use contains, startsWith or endsWith")
	case n.Operator == "-" && isMember && isName(member.Node, "header"):
		r.refuse(n, `a name with a hyphen is written in brackets: header["content-type"]`)
	default:
		r.refuse(n, "arithmetic (%s) is not part of the suite language", n.Operator)
	}
	return false
}

// member refuses header names that can't be there.
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
		r.refuse(n, "methods are not part of the suite language; there are %s", strings.Join(callable(), ", "))
		return
	}
	if _, known := functions[callee.Value]; !known {
		r.refuse(n, "%s() is not part of the suite language%s; there are %s", callee.Value, DidYouMean(callee.Value, callable()), strings.Join(callable(), ", "))
		return
	}
	if len(n.Arguments) != 1 {
		r.refuse(n, "%s() takes one argument", callee.Value)
	}
}

// callable lists all that can be called.
func callable() []string {
	return slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(listFunctions), maps.Keys(functions))))
}
