// Package report holds the facts of a run, and the judgements that follow from
// them.
//
// It is a leaf: every other package takes its facts from here and gives them
// back in these types, so that a fact has one type from where it is learned to
// where it is shown. It gives commits and digests their one grammar
// ([ParseCommit], [ParseDigest]), what became of tags ([TagState]), where a
// tenant stands ([Rollout]), what a check found ([CheckResult]), what was decided
// about an image ([Record]), and the whole of it ([Report]), whose JSON form is
// report.json.
//
// What can be said of facts alone is said here once: the causes of a verdict
// ([Report.Causes]), whether identity is proven ([IdentityProven]), where a tenant
// stands ([Tenant.Standing]).
//
// All foreign text in these types is sanitised and redacted by whoever puts it
// there, and escaped for no markup.
package report
