// Package ledger keeps what was decided about images: signed records beside each
// image in its registry, readable by anybody.
//
// It takes keys ([ParseSigner], [ParseTrustedKeys]), the manifests that a registry
// returned, and what a run decided ([Record]). It gives the manifests to write
// ([Seal]), the records that can be trusted ([Trust.Open]), and what follows from
// them ([View]): which digest a target shall show, whether it is on hold, what was
// revoked, what a rollback restores, what may run.
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
// Nothing here makes a request: [Registry] is what the package needs of a registry.
package ledger
