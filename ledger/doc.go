// Package ledger keeps what was decided about images: signed records beside each
// image in its registry, readable by anybody.
//
// It takes keys ([ParseSigner], [ParseTrustedKeys]), a [Registry], and what a run
// decided ([Record]). A [Store] reads the records that can be trusted and writes new
// ones; from what it read follows ([View]) which digest a target shall show, whether
// it is on hold, what was revoked, what a rollback restores, what may run. When to
// write what is the business of package promote.
//
// Each target tag has two heads, tags that point at its newest records: one that
// promotions write ([Go]) and one that hold, release and rollback write ([Stop]).
// A promotion therefore can't overwrite a hold, and no refusal depends on a listing
// that somebody can shorten.
//
// The formats are those of the field, so that other tools can read and verify
// records: in-toto statements, SLSA verification summaries, DSSE envelopes and
// Sigstore bundles, attached to the image as OCI referrers. They are written with
// the standard library alone, because the libraries of these formats would almost
// double the program. Whatever is read may come from an attacker: it is bounded
// and parsed strictly, and its texts are sanitised.
//
// Nothing here knows how to reach a registry: [Registry] is what the package needs
// of one.
package ledger
