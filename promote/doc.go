// Package promote moves tags of container images to what was tested: all of
// them or none, and it knows afterwards what happened.
//
// It takes the names of repositories and tags ([Config]) and a commit. It resolves
// the commit's source tags to digests once and applies the rules about order and
// records ([Promoter.Resolve]); where they allow the move, that gives a
// [Candidate], which is the only thing that can be moved. Facts come in the types
// of package report. Manifests travel as the bytes that the registry gave, so that
// an index stays an index and a digest stays the same; no blob moves.
//
// Registries have no compare-and-swap and no transactions. What can be given
// without them is this: everything is read again right before a move, every
// write is read back, what moved is restored when something else could not move,
// and where that fails too, [Candidate.Images] says for each tag where it points.
// What can't be given: between the last read and the write somebody else may
// write, and two tags of two repositories never move at the very same moment. See
// move.go.
//
// What was decided is kept in the registry itself, in the ledger of package ledger:
// each target has a head that promotions write and one that holds, releases and
// rollbacks write ([Promoter.Hold], [Promoter.Rollback]). A promotion reads both
// before it moves and once more when no older write can show any more
// ([Candidate.Settle]); a rollback writes its head before it moves, so that it can be
// finished by whoever meets it.
//
// The package reads no environment, prints nothing and never exits.
package promote
