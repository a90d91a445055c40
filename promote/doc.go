// Package promote moves tags in registries: what was tested, all of it or none.
//
// It takes the images of a product and a commit, gives back a [Plan] with the
// digests that are the candidate, and moves the target tag to them, back from
// them, or to an earlier commit's; it leaves and reads records of what was
// decided. A registry has neither compare-and-swap nor transactions: each move
// is read before and verified after, and what can't be guaranteed is told.
package promote
