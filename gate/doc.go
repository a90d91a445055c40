// Package gate is the release gate: the sequence of a run and its verdict.
//
// It takes a [Plan], the wish of a user, and gives back a [report.Report]: which
// candidate was looked at, what every tenant answered, the verdict and where every
// tag points now. It is the library's front door; packages fleet, smoke and promote
// do the work, and package summary shows the report to people.
package gate
