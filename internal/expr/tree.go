package expr

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// clauses splits a condition at its outermost "and": each clause can fail on its
// own.
func (x *Expr) clauses() []*Expr {
	if b, ok := x.node.(*ast.BinaryNode); ok && (b.Operator == "&&" || b.Operator == "and") {
		return append((&Expr{b.Left}).clauses(), (&Expr{b.Right}).clauses()...)
	}
	return []*Expr{x}
}

// Values returns the parts whose values explain the value of x: names, and
// members of them. Left out are the answer as a whole (status, body, json and
// header) and what differs from element to element of a list.
func (x *Expr) Values() []*Expr {
	var found []*Expr
	var look func(n ast.Node)
	look = func(n ast.Node) {
		switch n := n.(type) {
		case *ast.IdentifierNode:
			if slices.Contains([]string{"status", "body", "json", "header"}, n.Value) {
				return
			}
		case *ast.MemberNode, *ast.ChainNode:
			if contains(n, func(n ast.Node) bool { _, is := n.(*ast.PointerNode); return is }) {
				return
			}
		default:
			for _, child := range children(n) {
				look(child)
			}
			return
		}
		if !slices.ContainsFunc(found, func(f *Expr) bool { return f.String() == n.String() }) {
			found = append(found, &Expr{n})
		}
	}
	look(x.node)
	return found
}

// Mentions reports whether a name is used in x.
func (x *Expr) Mentions(name string) bool {
	return contains(x.node, func(n ast.Node) bool { return isName(n, name) })
}

// WantsArray reports whether a condition is about an answer that is an array:
// is_array(json), or a list function over json itself.
func (x *Expr) WantsArray() bool {
	return contains(x.node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallNode:
			return isName(n.Callee, "is_array") && isName(n.Arguments[0], "json")
		case *ast.BuiltinNode:
			return isName(n.Arguments[0], "json")
		default:
			return false
		}
	})
}

// PinsStatus reports whether a condition can be true for the given status alone.
func (x *Expr) PinsStatus(status int) bool {
	return slices.ContainsFunc(x.clauses(), func(clause *Expr) bool {
		b, ok := clause.node.(*ast.BinaryNode)
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

// Prefix returns the text with which a condition on an element demands that one
// of its members begins; empty where it does not.
func (x *Expr) Prefix() string {
	for _, clause := range x.clauses() {
		b, ok := clause.node.(*ast.BinaryNode)
		if !ok || b.Operator != "startsWith" {
			continue
		}
		member, isMember := b.Left.(*ast.MemberNode)
		text, isText := b.Right.(*ast.StringNode)
		if !isMember || !isText {
			continue
		}
		if _, ok := member.Node.(*ast.PointerNode); ok {
			return text.Value
		}
	}
	return ""
}

// isName reports whether n is the given name.
func isName(n ast.Node, name string) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && id.Value == name
}

// contains reports whether n or a node below it is what is looked for.
func contains(n ast.Node, is func(ast.Node) bool) bool {
	return is(n) || slices.ContainsFunc(children(n), func(child ast.Node) bool { return contains(child, is) })
}

// children returns the nodes right below n, of those that the language has.
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
