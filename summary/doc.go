// Package summary shows a [gate.Report] to people and to other programs.
//
// It takes a Report and gives Markdown for a step summary, text for a terminal
// or a log, one self-contained HTML page, report.json, JUnit XML, the sentence
// for a commit status and the draft of a post-mortem. All of it is a pure
// function of the Report: the same Report gives the same bytes, whatever the
// clock, the environment or the machine.
//
// All texts of a Report are taken for foreign, since tenants, registries and
// forges wrote parts of them. They pass the sanitiser of internal/untrusted
// once more, and the escaping of the format: escape.go for Markdown,
// html/template for HTML, encoding/xml for JUnit.
package summary
