// Package fleet knows who the canary tenants are and talks to them.
//
// It takes tenants as lists or as one structured document and gives back a
// [Fleet]: one origin-locked HTTP [Session] a tenant, with bounded tries,
// retries and concurrency. With it a caller waits until every tenant provably
// runs a commit ([Fleet.Wait]), asks once where each of them stands
// ([Fleet.Probe]), or sends the requests of a check ([Session.Do]).
//
// It decides nothing: what an answer means for a release is the business of
// packages smoke and gate.
package fleet
