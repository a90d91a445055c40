package report

import (
	"fmt"
	"strings"
)

// A Commit names a commit of the source repository: 7 to 40 hex digits, or all
// 64 where the repository uses SHA-256, in lower case. The empty Commit is an
// unknown one. Make it with [ParseCommit].
type Commit string

// Lengths of a commit in hex digits. Shorter ones are ambiguous in repositories
// of any size, and git's own short form has 7.
const (
	minCommit  = 7
	sha1Length = 40
	sha256Hex  = 64
)

// ParseCommit reads a commit, whole or abbreviated, in any case.
func ParseCommit(s string) (Commit, error) {
	c := Commit(strings.ToLower(s))
	if !c.valid() {
		return "", fmt.Errorf("%q is not a commit of 7 to 40 hex digits (64 in a SHA-256 repository)", clip([]byte(s)))
	}
	return c, nil
}

func (c Commit) valid() bool {
	return isHex(string(c)) && (len(c) >= minCommit && len(c) <= sha1Length || len(c) == sha256Hex)
}

// isHex reports whether s consists of lower-case hex digits.
func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// Same reports whether both name the same commit: one is the beginning of the
// other. Unknown commits are the same as none.
func (c Commit) Same(other Commit) bool {
	return c.valid() && other.valid() &&
		(strings.HasPrefix(string(c), string(other)) || strings.HasPrefix(string(other), string(c)))
}

// Whole reports whether all digits are known.
func (c Commit) Whole() bool { return c.valid() && len(c) >= sha1Length }

// Longest returns the longer form where both are the same commit, else c.
func (c Commit) Longest(other Commit) Commit {
	if c.Same(other) && len(other) > len(c) {
		return other
	}
	return c
}

// Short returns the first 7 digits, for people.
func (c Commit) Short() string {
	if c.valid() {
		return string(c[:minCommit])
	}
	return string(c)
}

// A Relation is how one commit stands to another. The zero value is
// [UnknownRelation].
type Relation int

// The relations of a commit to an earlier one, the base.
const (
	UnknownRelation Relation = iota
	Identical                // they are the same commit
	Ahead                    // it descends from the base
	Behind                   // it is an ancestor of the base
	Diverged                 // neither descends from the other
)

var relations = words[Relation]{"unknown", "identical", "ahead", "behind", "diverged"}

// String returns the word that forges use: unknown, identical, ahead, behind,
// diverged.
func (r Relation) String() string { return relations.of(r) }

// A Digest names a manifest or blob by its content: "sha256:" and 64 hex digits,
// or "sha512:" and 128. The empty Digest is that of a tag that is absent. Make it
// with [ParseDigest].
type Digest string

// ParseDigest reads a digest (OCI image specification, "Digests").
func ParseDigest(s string) (Digest, error) {
	algorithm, hex, _ := strings.Cut(s, ":")
	length := map[string]int{"sha256": 64, "sha512": 128}[algorithm]
	if length == 0 || len(hex) != length || !isHex(hex) {
		return "", fmt.Errorf("%q is not a digest; write for example sha256: and 64 hex digits", clip([]byte(s)))
	}
	return Digest(s), nil
}

// Short returns the algorithm and the first 12 hex digits, for people; container
// tools show as many.
func (d Digest) Short() string {
	algorithm, hex, found := strings.Cut(string(d), ":")
	if !found || len(hex) <= 12 {
		return string(d)
	}
	return algorithm + ":" + hex[:12]
}
