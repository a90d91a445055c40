// Package gate is the release gate: the sequence of a run and its verdict.
//
// It takes a [Plan], the validated wish of a user, and gives back a [Report]:
// which candidate was looked at, what every tenant answered, the [Verdict] and
// where every tag points now. It is the library's front door; packages fleet,
// smoke and promote do the work, and package summary shows the Report to people.
package gate
