package ledger

import "context"

// A Witness keeps, outside the registry, which heads were seen last: a commit
// status, a file. It notices a replay of a whole older state, which nothing inside
// the registry can.
type Witness interface {
	// Read returns the heads by image as they were told last; none: an empty map.
	Read(ctx context.Context) (map[string]Seen, error)
	// Tell adds newer heads.
	Tell(ctx context.Context, seen map[string]Seen) error
}
