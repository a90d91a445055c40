// Package expr is the language of expectations: expressions about one answer of
// a tenant.
//
// It takes the text of an expression and the names of the values that were saved
// before it, and gives an [Expr], or every error with its place; an [Evaluation]
// then gives the Expr its value over an [Env], or over one element of a list. No text and no answer can make that
// hang or use much memory: an expression has at most 256 parts, predicates nest
// two deep, a list function visits at most 10,000 elements, and one evaluation
// takes at most two million steps and ends with its context.
//
// expr-lang parses the text and checks its types. Its virtual machine is not
// used, because a release gate can't rely on it: it takes no context and limits
// memory but not time; it compares integers with floats as float64, so that ids
// beyond 2^53 become equal, and does not know json.Number at all; all() over an
// empty object is true; and nothing ("nil") does not contain a text, so that
// not (json.error contains "x") would pass on an answer without an error field.
// Here each of these is compared digit by digit or is an error, and an error is
// never a pass.
package expr
