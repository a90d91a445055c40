// Package summary shows a [report.Report] to people and to other programs.
//
// It gives Markdown for a step summary, text for a terminal or a log, one
// self-contained HTML page, report.json, JUnit XML, a headline, and the sentence
// for a commit status. All of it is a pure function of the Report: the same
// Report gives the same bytes, whatever the clock, the environment or the
// machine.
//
// What is shown is decided once for all formats: verdict.go has the words of the
// verdict, facts.go the circumstances, table.go the tables and block.go the
// failures. markdown.go, text.go and html.go only write them.
//
// All texts of a Report are taken for foreign, since tenants, registries and
// forges wrote parts of them. They pass the sanitiser of internal/untrusted
// once more, and the escaping of the format: internal/markdown, html/template,
// encoding/xml.
package summary
