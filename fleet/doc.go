// Package fleet knows who the canary tenants are and talks to them.
//
// It takes tenants as lists ([ParseLists]) or as one structured document
// ([ParseTenants]) and gives back a [Fleet]: one origin-locked HTTP [Session] a
// tenant, with bounded tries, retries and concurrency. With it a caller waits
// until every tenant provably runs a commit ([Fleet.Wait]), asks once where each
// of them stands ([Fleet.Probe]), or sends the requests of a check
// ([Session.Do]).
//
// It decides nothing: what an answer means for a release is the business of
// packages smoke and gate. It never reads the environment, prints or exits.
//
// Where to find what: lists.go and structured.go parse, url.go says which URLs
// and paths are allowed, fleet.go builds the shared transport, slots.go bounds
// how much happens at once, session.go retries, try.go sends one try, failure.go
// words what went wrong, rollout.go waits, version.go reads a commit.
package fleet
