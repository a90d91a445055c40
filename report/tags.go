package report

import "time"

// A TagState says what became of one target tag. The zero value is [Unchanged].
type TagState int

// The states of a target tag after a run.
const (
	Unchanged    TagState = iota // not written
	Promoted                     // moved to the candidate, and read back
	Already                      // it pointed at the candidate before
	Restored                     // moved, then moved back, and read back
	UnknownState                 // written and not read back, or moved by somebody else after that
)

var tagStates = words[TagState]{"unchanged", "promoted", "already", "restored", "unknown"}

// String returns one of unchanged, promoted, already, restored, unknown.
func (s TagState) String() string { return tagStates.of(s) }

// MarshalText returns the state's word.
func (s TagState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts the words of tag states only.
func (s *TagState) UnmarshalText(text []byte) error { return tagStates.parse(s, "tag state", text) }

// An Image is one repository's part in the run.
type Image struct {
	Image  string `json:"image"`  // repository, as written
	Source string `json:"source"` // tag of the candidate
	Digest Digest `json:"digest"` // of the candidate
	// Revision is what the candidate's revision label says, sanitised; it need
	// not be a commit.
	Revision string    `json:"revision"`
	Created  time.Time `json:"created,omitzero"`
	Target   string    `json:"target"`   // tag
	Previous Digest    `json:"previous"` // that the target had; empty: it was absent
	// PreviousRevision is the revision of Previous, by its label or its record.
	PreviousRevision string    `json:"previous_revision,omitempty"`
	PreviousCreated  time.Time `json:"-"`
	State            TagState  `json:"state"`
	Now              Digest    `json:"now"`              // that the target pointed at when last seen
	Detail           string    `json:"detail,omitempty"` // one sentence where State needs one
}

// Reference is the image with the tag that moves.
func (i Image) Reference() string {
	if i.Target == "" {
		return i.Image
	}
	return i.Image + ":" + i.Target
}

// AtCandidate reports whether the target pointed at the candidate when last seen.
func (i Image) AtCandidate() bool { return i.Digest != "" && i.Now == i.Digest }

// Everywhere reports whether every target points at its candidate. No images are
// nowhere.
func Everywhere(images []Image) bool {
	for _, i := range images {
		if !i.AtCandidate() {
			return false
		}
	}
	return len(images) > 0
}

// A CanaryState says what became of the canary tag. The zero value is
// [CanaryUntouched].
type CanaryState int

// The states of the canary tag, over all images.
const (
	CanaryUntouched CanaryState = iota
	CanaryMoved                 // at the candidate
	CanaryRestored              // moved, then put back
	CanaryUnknown
)

var canaryStates = words[CanaryState]{"untouched", "moved", "restored", "unknown"}

// String returns one of untouched, moved, restored, unknown.
func (s CanaryState) String() string { return canaryStates.of(s) }

// MarshalText returns the state's word.
func (s CanaryState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts the words of canary states only.
func (s *CanaryState) UnmarshalText(text []byte) error {
	return canaryStates.parse(s, "canary tag state", text)
}

// A Canary says what became of the canary tag.
type Canary struct {
	Tag    string      `json:"tag"`
	State  CanaryState `json:"state"`
	Detail string      `json:"detail,omitempty"`
}
