package promote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// sample is a record with every field set.
var sample = report.Record{
	Event: report.EventVerified, Time: time.Date(2026, 5, 2, 12, 34, 56, 789e6, time.UTC), SHA: newSHA,
	Digest: report.Digest("sha256:" + strings.Repeat("ab", 32)), Target: "latest", Replaced: report.Digest("sha256:" + strings.Repeat("cd", 32)),
	Suite: "checks/my suite.yml", Hash: "sha256:" + strings.Repeat("ef", 32),
	RunURL: "https://forge.example/org/repo/actions/runs/7", Actor: "ada", Reason: "every check passed",
}

// TestPayloadIsAVerificationSummary reads a record with the types that in-toto
// publishes, and checks every field.
func TestPayloadIsAVerificationSummary(t *testing.T) {
	for _, event := range []report.Event{report.EventVerified, report.EventPromoted, report.EventRejected, report.EventRolledBack} {
		t.Run(string(event), func(t *testing.T) {
			rec := sample
			rec.Event = event
			raw := payload(rec, "registry.example/org/app", "canary-verify/1.0")
			var s intoto.Statement
			if err := protojson.Unmarshal(raw, &s); err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			if s.GetPredicateType() != predicateType || s.GetSubject()[0].GetDigest()["sha256"] != strings.Repeat("ab", 32) {
				t.Errorf("%v", &s)
			}
			fields := s.GetPredicate().AsMap()
			if _, found := fields["canaryverify_record"]; !found {
				t.Error("no extension field")
			}
			delete(fields, "canaryverify_record") // SLSA lets consumers ignore it
			known, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			var p vsa.VerificationSummary
			if err := protojson.Unmarshal(known, &p); err != nil { // strict: an unknown field is an error
				t.Fatal(err)
			}
			want := map[bool]string{true: "PASSED", false: "FAILED"}[event.Positive()]
			if p.GetVerificationResult() != want || p.GetVerifier().GetId() != verifierID || !p.GetTimeVerified().AsTime().Equal(rec.Time) ||
				p.GetPolicy().GetDigest()["sha256"] != strings.Repeat("ef", 32) || !strings.HasPrefix(p.GetResourceUri(), "pkg:oci/app@sha256") || len(p.GetVerifiedLevels()) != 1 {
				t.Errorf("%v", &p)
			}
		})
	}
}

func TestPayloadIsDeterministicAndComesBack(t *testing.T) {
	a, b := payload(sample, "registry.example/org/app", "t"), payload(sample, "registry.example/org/app", "t")
	if !bytes.Equal(a, b) {
		t.Errorf("%s\n%s", a, b)
	}
	rec, err := parsePayload(a, sample.Digest)
	if err != nil || *rec != sample {
		t.Errorf("%+v, %v; want %+v", rec, err, sample)
	}
	bare := report.Record{Event: report.EventRejected, Time: sample.Time, Digest: sample.Digest, Target: "latest"}
	rec, err = parsePayload(payload(bare, "registry.example/org/app", ""), sample.Digest)
	if err != nil || *rec != bare {
		t.Errorf("%+v, %v; want %+v", rec, err, bare)
	}
}

// swap replaces one text in a payload.
func swap(old, new string) func([]byte) []byte {
	return func(b []byte) []byte {
		if !bytes.Contains(b, []byte(old)) {
			panic("no " + old)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
}

func TestMalformedPayloadsAreRefused(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"empty":               func([]byte) []byte { return nil },
		"not JSON":            func([]byte) []byte { return []byte("<html>") },
		"null":                func([]byte) []byte { return []byte("null") },
		"two statements":      func(b []byte) []byte { return append(b, b...) },
		"huge":                func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), maxPayload)...) },
		"another statement":   swap("Statement/v1", "Statement/v2"),
		"another predicate":   swap("verification_summary", "provenance"),
		"another subject":     swap(`"sha256":"abab`, `"sha256":"cdcd`),
		"unknown event":       swap(`"event":"verified"`, `"event":"blessed"`),
		"verdict and event":   swap("PASSED", "FAILED"),
		"no verdict":          swap("PASSED", ""),
		"no time":             swap("2026-05-02T12:34:56.789Z", "0001-01-01T00:00:00Z"),
		"sha is not a commit": swap(`"sha":"4c1d`, `"sha":"main`),
		"target is not a tag": swap(`"target":"latest"`, `"target":"-x"`),
		"replaced no digest":  swap(`"replaced":"sha256:cd`, `"replaced":"sha512:cd`),
	} {
		t.Run(name, func(t *testing.T) {
			rec, err := parsePayload(change(payload(sample, "registry.example/org/app", "t")), sample.Digest)
			if err == nil {
				t.Errorf("read as %+v", rec)
			}
		})
	}
}

func TestForeignTextsInRecordsAreSanitised(t *testing.T) {
	rec := sample
	rec.Actor, rec.Reason, rec.RunURL = "::error::x", "a\x1b[31mb\n::set-output", strings.Repeat("u", 2*maxText)
	got, err := parsePayload(payload(rec, "registry.example/org/app", "t"), sample.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(got.Actor, "::") || strings.ContainsAny(got.Reason, "\x1b\n") || len([]rune(got.RunURL)) > maxText {
		t.Errorf("%+v", got)
	}
}

// fallbackTag is where other clients look for a list of referrers.
func fallbackTag(digest string) registry.Reference {
	return byTag(strings.Replace(digest, ":", "-", 1))
}

// plant stores a manifest and its blobs as somebody else would, and returns its
// digest.
func (w *world) plant(app string, manifest []byte, blobs ...[]byte) report.Digest {
	w.t.Helper()
	r := w.repository(app)
	for _, b := range blobs {
		if err := r.PushBlob(w.t.Context(), b); err != nil {
			w.t.Fatal(err)
		}
	}
	m, err := registry.ParseManifest("application/vnd.oci.image.manifest.v1+json", manifest)
	if err == nil {
		_, err = r.Store(w.t.Context(), m)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Digest
}

// TestUnreadableRecordsAreInconclusive attaches what is not a record to the
// candidate: neither a refusal nor a permission.
func TestUnreadableRecordsAreInconclusive(t *testing.T) {
	good := func(w *world, digest report.Digest) (*registry.Manifest, []byte) {
		rec := sample
		rec.Digest = digest
		raw := w.Manifest(apps[0], string(digest))
		m, err := registry.ParseManifest("", raw)
		if err != nil {
			w.t.Fatal(err)
		}
		content := payload(rec, "x/"+apps[0], "t")
		return artifact(m, rec, content), content
	}
	for name, change := range map[string]func(m, payload string) (string, string){
		"payload is malformed": func(m, p string) (string, string) {
			return strings.Replace(m, string(registry.DigestOf([]byte(p))), string(registry.DigestOf([]byte("x"))), 1), "x"
		},
		"two layers": func(m, p string) (string, string) {
			i, j := strings.Index(m, `"layers":[`)+len(`"layers":[`), strings.Index(m, `],"subject"`)
			return m[:j] + "," + m[i:j] + m[j:], p
		},
		"huge payload": func(m, p string) (string, string) {
			return strings.Replace(m, fmt.Sprintf(`"size":%d`, len(p)), `"size":999999`, 1), p
		},
		"size is wrong": func(m, p string) (string, string) {
			return strings.Replace(m, fmt.Sprintf(`"size":%d`, len(p)), `"size":7`, 1), p
		},
		"config is not empty": func(m, p string) (string, string) {
			return strings.Replace(m, registry.EmptyType, "application/json", 1), p
		},
		"listing shows another time": func(m, p string) (string, string) {
			return strings.Replace(m, "2026-05-02T12:34:56.789Z", "2036-05-02T12:34:56.789Z", 1), p
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{Referrers: true})
			m, content := good(w, w.digest(apps[0], "staging-4c1d56e"))
			changed, blob := change(string(m.Raw), string(content))
			if changed == string(m.Raw) {
				t.Fatal("nothing changed")
			}
			w.plant(apps[0], []byte(changed), []byte(blob), registry.EmptyConfig)
			plan, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
			var refused *RefusedError
			if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "record") && !strings.Contains(err.Error(), "blob") {
				t.Errorf("%v; %+v", err, plan)
			}
		})
	}
}

// TestRecordOnSomethingElse is listed for the candidate by a wrong list, but is
// attached to another digest.
func TestRecordOnSomethingElse(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.must(newSHA)
	r := w.repository(apps[0])
	list, err := r.Manifest(t.Context(), fallbackTag(w.Digest(apps[0], "staging-4c1d56e")))
	if err != nil || list == nil {
		t.Fatal(err)
	}
	if _, err := r.Put(t.Context(), fallbackTag(w.Digest(apps[0], "staging-9e77a10")), list); err != nil {
		t.Fatal(err)
	}
	if _, err := w.promoter().Resolve(t.Context(), topSHA, ForVerify); err == nil || !strings.Contains(err.Error(), "attached to another digest") {
		t.Errorf("%v", err)
	}
}

// TestNewestRecordCounts writes several, also at the same time.
func TestNewestRecordCounts(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers=%t", referrers), func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{Referrers: referrers, CheckBlobs: true})
			r := w.repository(apps[0])
			if _, err := r.listing(t.Context(), w.digest(apps[0], "latest")); err != nil {
				t.Fatal(err)
			}
			m, err := r.Manifest(t.Context(), byTag("staging-4c1d56e"))
			if err != nil {
				t.Fatal(err)
			}
			write := func(e report.Event, at time.Time, reason string) report.Digest {
				rec := sample
				rec.Digest, rec.Event, rec.Time, rec.Reason = m.Digest, e, at, reason
				if err := r.writeRecord(t.Context(), m, rec, "t"); err != nil {
					t.Fatal(err)
				}
				return artifact(m, rec, payload(rec, r.Name().String(), "t")).Digest
			}
			expect := func(reason string) {
				t.Helper()
				if newest := w.newest(apps[0], m.Digest); newest == nil || newest.Reason != reason {
					t.Errorf("newest is %+v, want %q", newest, reason)
				}
			}
			write(report.EventVerified, sample.Time, "first")
			write(report.EventRejected, sample.Time.Add(time.Hour), "second")
			expect("second")
			write(report.EventVerified, sample.Time.Add(time.Minute), "late to arrive, but older")
			expect("second")
			a := write(report.EventVerified, sample.Time.Add(2*time.Hour), "a")
			b := write(report.EventRejected, sample.Time.Add(2*time.Hour), "b")
			if expect(map[bool]string{true: "a", false: "b"}[a < b]); a == b {
				t.Error("the same record")
			}
		})
	}
}

// TestOthersReadAndWriteTheSameList lets go-containerregistry list our record,
// and has us read what it attached.
func TestOthersReadAndWriteTheSameList(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers=%t", referrers), func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{Referrers: referrers, CheckBlobs: true})
			plan := w.must(newSHA)
			repo, err := name.NewRepository(w.Host() + "/" + apps[0])
			if err != nil {
				t.Fatal(err)
			}
			index, err := remote.Referrers(repo.Digest(string(plan.Images[0].Digest)), w.remote...)
			if err != nil {
				t.Fatal(err)
			}
			list, err := index.IndexManifest()
			if err != nil || len(list.Manifests) != 1 || list.Manifests[0].ArtifactType != recordType {
				t.Fatalf("%+v, %v", list, err)
			}
			// The library attaches a later record with the bytes that we would write.
			m, err := registry.ParseManifest("", w.Manifest(apps[0], string(plan.Images[0].Digest)))
			if err != nil {
				t.Fatal(err)
			}
			rec := sample
			rec.Digest, rec.Event, rec.Time = m.Digest, report.EventRolledBack, time.Now().Add(time.Hour).UTC()
			content := payload(rec, repo.Name(), "t")
			if err := w.repository(apps[0]).PushBlob(t.Context(), content); err != nil {
				t.Fatal(err)
			}
			art := artifact(m, rec, content)
			pusher, err := remote.NewPusher(w.remote...)
			if err == nil {
				err = pusher.Put(t.Context(), repo.Digest(string(art.Digest)), taggable{art})
			}
			if err != nil {
				t.Fatal(err)
			}
			var refused *RefusedError
			if _, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify); !errors.As(err, &refused) || refused.Rule != RuleRolledBack {
				t.Errorf("%v", err)
			}
		})
	}
}

type taggable struct{ m *registry.Manifest }

func (t taggable) RawManifest() ([]byte, error)        { return t.m.Raw, nil }
func (t taggable) MediaType() (types.MediaType, error) { return types.MediaType(t.m.MediaType), nil }

// TestFallbackListOvertaken has another writer replace the list between our
// write and our look at it.
func TestFallbackListOvertaken(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{CheckBlobs: true})
	empty := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	digest := w.digest(apps[0], "staging-4c1d56e")
	in := w.Inject(sim.Injection{Method: http.MethodPut, Path: "/platform/manifests/sha256-", Times: 1, Do: func(x *sim.Exchange) {
		a := x.Serve()
		other := w.repository(apps[0])
		_, err := other.Put(t.Context(), fallbackTag(string(digest)), &registry.Manifest{Digest: registry.DigestOf(empty), MediaType: ociIndex, Raw: empty})
		if err != nil {
			t.Error(err)
		}
		x.Send(a)
	}})
	plan := w.must(newSHA)
	if in.Hits() != 1 || len(plan.Warnings) > 0 {
		t.Fatalf("%d hits, %q", in.Hits(), plan.Warnings)
	}
	if newest := w.newest(apps[0], digest); newest == nil || newest.Event != report.EventVerified {
		t.Errorf("%+v", newest)
	}
}

// TestListedButGone is a record that a clean-up has deleted while the list still
// names it: it is as if it had never been.
func TestListedButGone(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.must(newSHA)
	r := w.repository(apps[0])
	digest := w.digest(apps[0], "staging-4c1d56e")
	entries, err := r.listing(t.Context(), digest)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	w.remove(apps[0], string(entries[0].digest))
	if newest := w.newest(apps[0], digest); newest != nil {
		t.Errorf("%+v", newest)
	}
}

func FuzzParsePayload(f *testing.F) {
	f.Add(payload(sample, "registry.example/org/app", "t"))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":null}],"predicate":{"canaryverify_record":null}}`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := parsePayload(b, sample.Digest)
		if err != nil {
			return
		}
		if !known(rec.Event) || rec.Digest != sample.Digest || !registry.ValidTag(rec.Target) || rec.Time.IsZero() {
			t.Errorf("%+v", rec)
		}
		for _, s := range []string{rec.Actor, rec.Reason, rec.RunURL, rec.Suite} {
			if strings.ContainsAny(s, "\n\x1b\r") || len([]rune(s)) > maxText {
				t.Errorf("%q", s)
			}
		}
	})
}
