// Package fleet knows who the canary tenants are and talks to them.
//
// It takes tenants as lists ([ParseLists]) or as one structured document
// ([ParseTenants]) and gives back a [Fleet]: one origin-locked HTTP [Session] a
// tenant, with timeouts, retries and bounded concurrency. With it a caller waits
// until every tenant runs a commit ([Fleet.Wait]), asks once where each of them
// stands ([Fleet.Probe]), or sends the requests of a check ([Session.Do]).
//
// It decides nothing: what an answer means for a release is the business of
// packages smoke and gate. It never reads the environment, prints or exits.
//
// Where to find what: tenants.go says what a valid tenant is, lists.go and
// document.go parse, url.go says which URLs and paths are allowed, fleet.go
// builds the shared transport, files.go bounds open connections, slots.go bounds
// how many tenants are active at once, session.go retries, pace.go keeps within a
// tenant's rate limit, attempt.go sends one attempt, failure.go words what went
// wrong, rollout.go waits, reads.go weighs what several reads found, restarts.go
// counts process starts, version.go reads a commit.
package fleet
