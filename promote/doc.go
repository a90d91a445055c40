// Package promote moves tags of container images to what was tested: all of
// them or none, and it knows afterwards what happened.
//
// It takes the names of repositories and tags ([Config]) and a commit, resolves
// the commit's source tags to digests once ([Promoter.Resolve]), applies the
// rules about order and records, and gives a [Plan] that its other methods carry
// out and keep up to date. Manifests travel as the bytes that the registry gave,
// so that an index stays an index and a digest stays the same; no blob moves.
//
// Registries have no compare-and-swap and no transactions. What can be given
// without them is this: everything is read again right before a move, every
// write is read back, what moved goes back when something else could not, and
// where that fails too the Plan says for each tag where it points. What can't
// be given: between the last read and the write somebody else may write, and two
// tags of two repositories never move at the very same moment. See move.go.
//
// Decisions are kept in the registry itself, as OCI artifacts that refer to the
// image ([Record]).
//
// The package reads no environment, prints nothing and never exits.
package promote
