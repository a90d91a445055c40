package promote_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// must runs gates one after the other that have to succeed.
func (s *schedule) must(ops ...op) {
	s.t.Helper()
	for _, o := range ops {
		g := s.gate(fmt.Sprint("start", o), o)
		if s.play(g); g.exit != exitOK {
			s.t.Fatalf("%v, %q", g, g.warnings)
		}
	}
}

// digests returns what was built of a commit, by image.
func (b *base) digests(sha report.Commit) []report.Digest {
	var digests []report.Digest
	for i := range len(b.hub.repos) {
		for _, d := range b.hub.repos[repoName(i)].order {
			if b.commits[d] == sha {
				digests = append(digests, d)
			}
		}
	}
	return digests
}

// formerRecords writes records of the first form: C1 replaced D1 and was rolled back.
func (s *schedule) formerRecords(b *base) {
	at := time.Date(1999, 2, 1, 0, 0, 0, 0, time.UTC)
	for _, r := range []struct {
		event         report.Event
		sha, replaced report.Commit
	}{
		{report.EventVerified, commitD0, ""},
		{report.EventVerified, commitD1, commitD0},
		{report.EventVerified, commitC1, commitD1},
		{report.EventRolledBack, commitC1, ""},
		{report.EventPromoted, commitD1, commitC1},
	} {
		at = at.Add(time.Hour)
		for i := range s.images {
			replaced := report.Digest("")
			if r.replaced != "" {
				replaced = b.digests(r.replaced)[i]
			}
			s.formerRecord(i, b.digests(r.sha)[i], r.sha, r.event, replaced, at)
		}
	}
}

// formerRecord writes one record of the first form.
func (s *schedule) formerRecord(i int, subject report.Digest, sha report.Commit, event report.Event, replaced report.Digest, at time.Time) {
	image, result, level := hubHost+"/"+repoName(i), "FAILED", "FAILED"
	if event.Positive() {
		result, level = "PASSED", "CANARY_VERIFIED"
	}
	record := map[string]any{"event": event, "sha": sha, "target": hubTarget, "tool": "canary-verify/1"}
	if replaced != "" {
		record["replaced"] = replaced
	}
	payload := marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"name": image, "digest": map[string]any{"sha256": strings.TrimPrefix(string(subject), "sha256:")}}},
		"predicateType": "https://slsa.dev/verification_summary/v1",
		"predicate": map[string]any{
			"verifier": map[string]any{"id": "https://git.moleculesai.app/molecule-ai/canary-verify"}, "timeVerified": at,
			"resourceUri": "pkg:oci/" + image[strings.LastIndex(image, "/")+1:] + "@" + url.QueryEscape(string(subject)) + "?repository_url=" + url.QueryEscape(image),
			"policy":      map[string]any{"uri": "urn:canary-verify:suite:canary"}, "verificationResult": result, "verifiedLevels": []string{level},
			"canaryverify_record": record,
		},
	})
	shelf := s.repos[repoName(i)]
	describe := func(kind string, content []byte) map[string]any {
		shelf.blobs[hubDigest(content)] = content
		return map[string]any{"mediaType": kind, "digest": hubDigest(content), "size": len(content)}
	}
	const kind = "application/vnd.canary-verify.record.v1+json"
	s.store(shelf, ociManifest, marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": kind,
		"config":  describe("application/vnd.oci.empty.v1+json", []byte("{}")),
		"layers":  []any{describe("application/vnd.in-toto+json", payload)},
		"subject": map[string]any{"mediaType": ociManifest, "digest": subject, "size": len(shelf.manifests[subject].raw)},
		"annotations": map[string]any{
			"org.opencontainers.image.created": at.Format(time.RFC3339Nano), "vnd.canary-verify.event": event,
		},
	}))
	if !s.listed {
		list, _ := s.store(shelf, ociIndex, shelf.index(subject, "", time.Now()))
		shelf.point(strings.Replace(string(subject), ":", "-", 1), time.Time{}, list)
	}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// fill makes C1 green and then red while it can't be promoted, and fills the rest of
// the list of revocations: the next one drops that of C1.
func (s *schedule) fill(b *base) {
	s.must(op{kind: "hold"})
	g := s.gate("green", op{kind: "verify", sha: commitC1})
	if s.play(g); g.exit != exitRefused {
		s.t.Fatal(g)
	}
	s.must(op{kind: "release"}, op{kind: "reject", sha: commitC1})
	view := s.truth()
	seq, err := view.Next()
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range view {
		stop := *view[i].Stop.Stop
		if !slices.ContainsFunc(stop.Revoked, func(r ledger.Revoked) bool { return b.commits[r.Digest] == commitC1 }) {
			s.t.Fatalf("C1 is not among the revoked ones: %+v", stop)
		}
		for n := len(stop.Revoked); n < 50; n++ {
			stop.Revoked = append(stop.Revoked, ledger.Revoked{Digest: hubDigest([]byte{byte(n)}), Kind: report.EventRejected, Seq: seq})
		}
		s.write(i, &ledger.Record{
			Event: report.EventReleased, Time: time.Now(), Image: view[i].Image, Subject: view[i].Target, Target: hubTarget,
			Decision: strings.Repeat("0", 32), Seq: seq, Prev: view[i].Stop.Digest, Saw: view.Saw(), SHA: commitD1, Stop: &stop,
		})
	}
}

// write puts a record behind its head.
func (s *schedule) write(i int, r *ledger.Record) {
	shelf := s.repos[repoName(i)]
	var signer *ledger.Signer
	if s.signed {
		signer = hubSigner
	}
	a, err := ledger.Seal(r, ledger.Descriptor{MediaType: ociManifest, Digest: r.Subject, Size: int64(len(shelf.manifests[r.Subject].raw))}, signer)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, content := range a.Blobs {
		shelf.blobs[hubDigest(content)] = content
	}
	d, _ := s.store(shelf, ociManifest, a.Manifest)
	kind := ledger.GoHead
	if r.Stop != nil {
		kind = ledger.StopHead
	}
	tag, err := ledger.HeadTag(hubTarget, kind)
	if err != nil {
		s.t.Fatal(err)
	}
	s.set(i, tag, d)
	seen := s.witness.seen[r.Image]
	seen.Stop = ledger.Ref{Seq: r.Seq, Digest: d}
	s.witness.seen[r.Image] = seen
}

// TestKilledAnywhere kills a gate in each of its requests. A rollback that is run
// after that ends well, or says why not; and after a release the next commit is
// promoted.
func TestKilledAnywhere(t *testing.T) {
	withoutJitter(t)
	l := &lab{map[start]*base{}}
	st := start{images: 2, dated: true, listed: true, state: begun}
	step := 1
	if raced() {
		step = 8
	}
	for _, o := range []op{
		{kind: "verify", sha: commitC1}, {kind: "verify", sha: commitC1, force: true}, {kind: "rollback"}, {kind: "hold"}, {kind: "release"},
	} {
		for killAt, more := 1, true; more; killAt += step {
			l.open(t, st, settings[0], uint64(killAt), func(s *schedule) {
				if o.kind == "release" {
					s.must(op{kind: "rollback"})
				}
				g := s.gate("killed", o)
				g.line.killAt = killAt
				s.play(g)
				more = g.exit == exitKilled
				back := s.gate("back", op{kind: "rollback"})
				if s.play(back); back.exit != exitOK && back.exit != exitRefused {
					t.Errorf("%v killed in request %d: %v", o, killAt, back)
				}
				if back.exit == exitOK {
					if green := s.gate("refused", op{kind: "verify", sha: commitC2}); o.kind != "release" {
						if s.play(green); green.exit != exitRefused {
							t.Errorf("%v killed in request %d: %v", o, killAt, green)
						}
					}
				}
				s.must(op{kind: "release"}, op{kind: "verify", sha: commitC3})
				if !s.agree() || s.shown(0) != commitC3 {
					t.Errorf("%v killed in request %d: %v", o, killAt, s.truth())
				}
			})
		}
	}
}
