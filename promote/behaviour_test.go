package promote

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// expectRefusal fails unless err is a refusal by the rule.
func expectRefusal(t *testing.T, err error, rule Rule) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Rule != rule {
		t.Errorf("%v, want a refusal by %q", err, rule)
	}
}

// expectOpen fails unless err leaves the matter open.
func expectOpen(t *testing.T, err error, want string) {
	t.Helper()
	var refused *RefusedError
	var failed *MoveError
	if err == nil || errors.As(err, &refused) || errors.As(err, &failed) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v (%T), want an open error about %q", err, err, want)
	}
}

func TestMissingSourceIsRefused(t *testing.T) { synctest.Test(t, testMissingSourceIsRefused) }

func testMissingSourceIsRefused(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	plan, err := w.promoter().Resolve(t.Context(), "ddddddd", ForVerify)
	expectRefusal(t, err, RuleMissing)
	if plan.Candidate != nil || plan.Images[0].Previous == "" || !strings.Contains(err.Error(), apps[0]) || !strings.Contains(err.Error(), apps[1]) {
		t.Errorf("%+v, %v", plan, err)
	}
}

func TestCommits(t *testing.T) { synctest.Test(t, testCommits) }

func testCommits(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	whole := func(c *Config) { c.SourceTag = "{full-sha}" }
	var invalid *report.InvalidError
	for _, sha := range []report.Commit{"", "short", "zzzzzzz", "4c1d56e"} {
		if found, err := w.promoter(whole).Resolve(t.Context(), sha, ForVerify); !errors.As(err, &invalid) || invalid.Field != "SHA" || found.Candidate != nil || len(found.Images) != 2 {
			t.Errorf("%q: %v", sha, err)
		}
	}
	if err := (Config{}).CheckCommit("4c1d56e"); err != nil {
		t.Error(err)
	}
	if n := len(w.Requests()); n > 0 {
		t.Errorf("%d requests", n)
	}
	w.must(newSHA[:12])
}

// TestLongCommit is of a repository that uses SHA-256.
func TestLongCommit(t *testing.T) { synctest.Test(t, testLongCommit) }

func testLongCommit(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	long := newSHA + strings.Repeat("a", 24)
	w.publish(sim.Build{SHA: long, Tag: long, Created: built[newSHA]})
	r := w.must(long, func(c *Config) { c.SourceTag = "{full-sha}" })
	w.same("latest", long)
	if rec := w.newest(apps[0], r.Images[0].Digest); rec == nil || rec.SHA != report.Commit(long) {
		t.Errorf("%+v", rec)
	}
}

func TestWrongRevisionIsRefusedEvenByForce(t *testing.T) {
	synctest.Test(t, testWrongRevisionIsRefusedEvenByForce)
}

func testWrongRevisionIsRefusedEvenByForce(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: topSHA, Tag: "staging-4c1d56e"})
	_, err := w.promoter(func(c *Config) { c.Force = "I insist" }).Resolve(t.Context(), newSHA, ForVerify)
	expectRefusal(t, err, RuleRevision)
}

func TestIndexIsReadThroughItsFirstChild(t *testing.T) {
	synctest.Test(t, testIndexIsReadThroughItsFirstChild)
}

func testIndexIsReadThroughItsFirstChild(t *testing.T) {
	for _, docker := range []bool{true, false} {
		w := newWorld(t, sim.RegistryConfig{CheckBlobs: true})
		digests := w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e", Index: true, Docker: docker})
		plan := w.must(newSHA)
		if plan.Images[0].Revision != newSHA || !plan.Images[0].Created.Equal(built[newSHA]) {
			t.Errorf("docker=%t: %+v", docker, plan.Images[0])
		}
		for i, app := range apps {
			if now := w.digest(app, "latest"); string(now) != digests[app] || plan.Images[i].Digest != now {
				t.Errorf("docker=%t: %s is at %s, want %s", docker, app, now, digests[app])
			}
			if a, b := w.Manifest(app, "latest"), w.Manifest(app, "staging-4c1d56e"); string(a) != string(b) {
				t.Error("other bytes")
			}
		}
	}
}

func TestBackwardsIsRefusedAndForceIsRecorded(t *testing.T) {
	synctest.Test(t, testBackwardsIsRefusedAndForceIsRecorded)
}

func testBackwardsIsRefusedAndForceIsRecorded(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(topSHA)
	_, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
	expectRefusal(t, err, RuleBackwards)
	plan := w.must(newSHA, func(c *Config) { c.Force = "9e77a10 eats invoices" })
	w.same("latest", "staging-4c1d56e")
	if len(plan.Warnings) != 2 || !strings.Contains(plan.Warnings[0], "forced") {
		t.Errorf("%q", plan.Warnings)
	}
	if newest := w.newest(apps[0], plan.Images[0].Digest); newest == nil || newest.Forced != "9e77a10 eats invoices" {
		t.Errorf("%+v", newest)
	}
}

// A forgeStub knows relations from a table.
type forgeStub map[string]report.Relation

func (f forgeStub) Compare(_ context.Context, base, next report.Commit) (report.Relation, error) {
	if r, found := f[base.Short()+" "+next.Short()]; found {
		return r, nil
	}
	return report.UnknownRelation, errors.New("the forge is down")
}

func TestAncestryDecides(t *testing.T) {
	for _, tt := range []struct {
		name  string
		forge forgeStub
		rule  Rule
		warns bool
	}{
		{"ancestor, though created later", forgeStub{"1f0c7be 4c1d56e": report.Behind}, RuleBackwards, false},
		{"descendant", forgeStub{"1f0c7be 4c1d56e": report.Ahead}, "", false},
		{"unknown", forgeStub{"1f0c7be 4c1d56e": report.UnknownRelation}, "", true},
		{"down", forgeStub{}, "", true},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{})
			plan, err := w.promoter(func(c *Config) { c.Ancestry = tt.forge }).Resolve(t.Context(), newSHA, ForVerify)
			if tt.rule != "" {
				expectRefusal(t, err, tt.rule)
			} else if err != nil {
				t.Error(err)
			}
			if (len(plan.Warnings) > 0) != tt.warns {
				t.Errorf("%q", plan.Warnings)
			}
		})
	}
}

func TestUnlabelledTargetIsKnownByItsRecord(t *testing.T) {
	synctest.Test(t, testUnlabelledTargetIsKnownByItsRecord)
}

func testUnlabelledTargetIsKnownByItsRecord(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	none := map[string]string{sim.LabelRevision: "", sim.LabelCreated: ""}
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e", Labels: none})
	w.must(newSHA)
	plan, err := w.promoter().Resolve(t.Context(), topSHA, ForVerify)
	if err != nil || plan.Images[0].PreviousRevision != newSHA {
		t.Errorf("%+v, %v", plan.Images[0], err)
	}
}

func TestPromoteWantsGreenOnEveryImage(t *testing.T) {
	synctest.Test(t, testPromoteWantsGreenOnEveryImage)
}

func testPromoteWantsGreenOnEveryImage(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	_, err := carry(t.Context(), w.promoter(), newSHA, ForPromote)
	expectRefusal(t, err, RuleNotGreen)
	w.must(newSHA)
	w.reject(topSHA)
	_, err = carry(t.Context(), w.promoter(), topSHA, ForPromote)
	expectRefusal(t, err, RuleNotGreen)
	w.must(topSHA) // judged again, green
	if _, err := w.promoter().Rollback(t.Context(), newSHA, ""); err != nil {
		t.Fatal(err)
	}
	plan, err := carry(t.Context(), w.promoter(func(c *Config) { c.Force = "it was fine" }), topSHA, ForPromote)
	if err != nil {
		t.Fatal(err)
	}
	w.same("latest", "staging-9e77a10")
	if newest := w.newest(apps[0], plan.Images[0].Digest); newest.Event != report.EventPromoted || newest.Forced != "it was fine" {
		t.Errorf("%+v", newest)
	}
}

func TestConfirmFindsWhatMoved(t *testing.T) {
	for _, tag := range []string{"staging-4c1d56e", "latest"} {
		bubble(t, tag, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{})
			p := w.promoter()
			plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
			if err != nil {
				t.Fatal(err)
			}
			w.publish(sim.Build{SHA: topSHA, Tag: tag, Images: apps[1:]})
			w.ResetLog()
			expectOpen(t, plan.Candidate.Confirm(t.Context()), tag)
			expectOpen(t, plan.Candidate.Promote(t.Context(), green), "run again")
			if w.Count(http.MethodPut, http.MethodPost, http.MethodDelete) > 0 {
				t.Error("something was written:\n" + w.list())
			}
			if w.digest(apps[0], "latest") != plan.Images[0].Previous {
				t.Error("the other image was moved")
			}
		})
	}
}

// TestMovedBetweenConfirmAndMove has the target move after Confirm.
func TestMovedBetweenConfirmAndMove(t *testing.T) { synctest.Test(t, testMovedBetweenConfirmAndMove) }

func testMovedBetweenConfirmAndMove(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	p := w.promoter()
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err == nil {
		err = plan.Candidate.Confirm(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	w.publish(sim.Build{SHA: topSHA, Tag: "latest", Images: apps[1:]})
	time.Sleep(defaultLease) // the look before counts no more
	expectOpen(t, plan.Candidate.Promote(t.Context(), green), "somebody else")
	if w.digest(apps[0], "latest") != plan.Images[0].Previous || w.Digest(apps[1], "latest") != w.Digest(apps[1], "staging-9e77a10") {
		t.Error("something was moved")
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	for name, kind := range matrixKinds {
		bubble(t, name, func(t *testing.T) {
			w := newWorld(t, kind)
			w.must(newSHA)
			w.ResetLog()
			dry := func(c *Config) { c.DryRun, c.CanaryTag = true, "canary" }
			plan := w.must(topSHA, dry)
			p := w.promoter(dry)
			plan.candidate.Reject(t.Context(), green)
			result, err := p.Rollback(t.Context(), "", "just looking")
			if err != nil || result.Rollback.ToSHA != oldSHA || result.Images[0].State != report.Unchanged {
				t.Errorf("%+v, %v", result, err)
			}
			if n := w.Count(http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete); n > 0 {
				t.Errorf("%d writes:\n%s", n, w.list())
			}
			if plan.Images[0].State != report.Unchanged || plan.Images[0].Now != plan.Images[0].Previous || plan.Canary.State != report.CanaryUntouched {
				t.Errorf("%+v", plan)
			}
			w.same("latest", "staging-4c1d56e")
		})
	}
}

func TestPreflightSeesWhatIsMissing(t *testing.T) {
	for _, tt := range []struct{ name, tag, want string }{
		{"a child of the candidate", "staging-4c1d56e", "the candidate is damaged"},
		{"a child of the former image", "latest", "no way back"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{})
			w.publish(sim.Build{SHA: oldSHA, Tag: "latest", Index: true})
			w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e", Index: true})
			p := w.promoter()
			plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
			if err != nil {
				t.Fatal(err)
			}
			m, err := registry.ParseManifest("", w.Manifest(apps[1], tt.tag))
			if err != nil {
				t.Fatal(err)
			}
			w.remove(apps[1], m.Content.Manifests[1].Digest.String())
			var failed *MoveError
			if err := plan.Candidate.Preflight(t.Context()); !errors.As(err, &failed) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), apps[1]) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("a registry that is down leaves it open", func(t *testing.T) {
		fakeTime(t, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{})
			found, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
			if err != nil {
				t.Fatal(err)
			}
			w.Inject(sim.Injection{Method: http.MethodHead, Do: sim.Status(503)})
			expectOpen(t, found.Candidate.Preflight(t.Context()), "503")
		})
	})
}

func TestCanaryTag(t *testing.T) { synctest.Test(t, testCanaryTag) }

func testCanaryTag(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: oldSHA, Tag: "canary", Images: apps[:1]}) // absent on the other
	p := w.promoter(withCanary)
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err == nil {
		err = plan.Candidate.MoveCanary(t.Context())
	}
	if err != nil || plan.Candidate.Canary().State != report.CanaryMoved {
		t.Fatal(err, plan.Candidate.Canary())
	}
	w.same("canary", "staging-4c1d56e")
	w.same("latest", "staging-1f0c7be")
	if err := plan.Candidate.RestoreCanary(t.Context()); err != nil || plan.Candidate.Canary().State != report.CanaryRestored {
		t.Error(err, plan.Candidate.Canary())
	}
	if w.Digest(apps[0], "canary") != w.Digest(apps[0], "staging-1f0c7be") || w.Digest(apps[1], "canary") != "" {
		t.Errorf("canary is at %v", w.at("canary"))
	}
	if err := plan.Candidate.RestoreCanary(t.Context()); err != nil || plan.Candidate.Canary().State != report.CanaryRestored {
		t.Error("a second time:", err, plan.Candidate.Canary())
	}
}

func TestCanaryTagThatFails(t *testing.T) { synctest.Test(t, testCanaryTagThatFails) }

func testCanaryTagThatFails(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: oldSHA, Tag: "canary"})
	before := w.at("canary")
	w.Inject(sim.Injection{Method: http.MethodPut, Path: apps[1] + "/manifests/canary", Do: sim.Status(403)})
	p := w.promoter(withCanary)
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Candidate.MoveCanary(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("%v", err)
	}
	if now := w.at("canary"); !slices.Equal(now, before) || plan.Candidate.Canary().State != report.CanaryRestored {
		t.Errorf("%v, %+v", now, plan.Candidate.Canary())
	}
}

func TestRollbackToACommit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ahead func(w *world)
		sha   report.Commit
		force string
		to    string // tag; "" is refused
		rule  Rule
	}{
		{"verified before", nil, newSHA, "", "staging-4c1d56e", ""},
		{"by seven digits", nil, "4c1d56e", "", "staging-4c1d56e", ""},
		{"in production before records began", nil, oldSHA, "", "staging-1f0c7be", ""},
		{"never heard of", nil, "ddddddd", "", "", RuleUnknownCommit},
		{"never heard of, forced", nil, "ddddddd", "I insist", "", RuleUnknownCommit},
		{"rejected", func(w *world) { w.reject(newSHA) }, newSHA, "", "", RuleNotGreen},
		{"rejected, forced", func(w *world) { w.reject(newSHA) }, newSHA, "it was a flaky check", "staging-4c1d56e", ""},
		{"built but never verified", func(w *world) { w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa"}) }, thirdSHA, "", "", RuleUnknownCommit},
		{"never verified, forced", func(w *world) { w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa"}) }, thirdSHA, "anything but this", "staging-0000aaa", ""},
		{"source tag of one image is another commit's", func(w *world) { w.publish(sim.Build{SHA: oldSHA, Tag: "staging-4c1d56e", Images: apps[1:]}) }, newSHA, "", "", RuleRevision},
		{"source tags deleted, found in the history", func(w *world) {
			for _, app := range apps {
				w.remove(app, "staging-4c1d56e")
			}
			w.publish(sim.Build{SHA: newSHA, Tag: "copy"})
		}, newSHA, "", "copy", ""},
		{"where it is already", nil, topSHA, "", "staging-9e77a10", ""},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{Referrers: true, CheckBlobs: true})
			w.must(newSHA)
			w.must(topSHA)
			if tt.ahead != nil {
				tt.ahead(w)
			}
			w.ResetLog()
			result, err := w.promoter(func(c *Config) { c.Force = tt.force }).Rollback(t.Context(), tt.sha, "invoices are wrong")
			if tt.to == "" {
				expectRefusal(t, err, tt.rule)
				w.same("latest", "staging-9e77a10")
				if w.Count(http.MethodPut, http.MethodPost) > 0 {
					t.Error("something was written")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.same("latest", tt.to)
			if result.Rollback.FromSHA != topSHA || !result.Rollback.ToSHA.Same(tt.sha) || result.Rollback.LiveSince.IsZero() {
				t.Errorf("%+v", result)
			}
		})
	}
}

// thirdSHA is a commit that no test's story has promoted.
const thirdSHA = "0000aaae0b7a92f3844de61c05b9a7d20e8f31c6"

func TestRollbackLeavesWhatIsDamaged(t *testing.T) { synctest.Test(t, testRollbackLeavesWhatIsDamaged) }

func testRollbackLeavesWhatIsDamaged(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e", Index: true})
	w.must(newSHA)
	m, err := registry.ParseManifest("", w.Manifest(apps[0], "latest"))
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range m.Content.Manifests {
		w.remove(apps[0], child.Digest.String())
	}
	result, err := w.promoter().Rollback(t.Context(), "", "")
	if err != nil || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "no way back") {
		t.Errorf("%+v, %v", result, err)
	}
	w.same("latest", "staging-1f0c7be")
}

func TestRollbackToWhatIsGone(t *testing.T) { synctest.Test(t, testRollbackToWhatIsGone) }

func testRollbackToWhatIsGone(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(newSHA)
	w.must(topSHA)
	digest := w.Digest(apps[1], "staging-4c1d56e")
	for _, ref := range []string{"staging-4c1d56e", digest} {
		w.remove(apps[1], ref)
	}
	_, err := w.promoter().Rollback(t.Context(), newSHA, "")
	expectRefusal(t, err, RuleUnknownCommit)
	w.same("latest", "staging-9e77a10")
}

func TestRollbackThatFailsHalfway(t *testing.T) { synctest.Test(t, testRollbackThatFailsHalfway) }

func testRollbackThatFailsHalfway(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(newSHA)
	w.Inject(sim.Injection{Method: http.MethodPut, Path: apps[1] + "/manifests/latest", Do: sim.Status(403)})
	result, err := w.promoter().Rollback(t.Context(), "", "")
	var failed *MoveError
	if !errors.As(err, &failed) || result.Images[0].State != report.Restored || result.Images[1].State != report.Unchanged {
		t.Errorf("%v, %+v", err, result)
	}
	w.same("latest", "staging-4c1d56e")
	w.Heal()
	if _, err := w.promoter().Rollback(t.Context(), "", ""); err != nil {
		t.Error(err)
	}
	w.same("latest", "staging-1f0c7be")
}

func TestRollbackWithoutRecords(t *testing.T) { synctest.Test(t, testRollbackWithoutRecords) }

func testRollbackWithoutRecords(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	_, err := w.promoter().Rollback(t.Context(), "", "")
	expectRefusal(t, err, RuleUnknownCommit)
}

func TestHistoryOfNothing(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{})
		if h, err := w.promoter(func(c *Config) { c.TargetTag = "stable" }).History(t.Context()); len(h) > 0 || err != nil {
			t.Errorf("%v, %v", h, err)
		}
		w.Inject(sim.Injection{Do: sim.Status(500)})
		if _, err := w.promoter().History(t.Context()); err == nil {
			t.Error("no error")
		}
	})
}

// TestFailedSignInIsNotKept has the registry answer the first request of a run
// with nonsense, and the second one well.
func TestFailedSignInIsNotKept(t *testing.T) { synctest.Test(t, testFailedSignInIsNotKept) }

func testFailedSignInIsNotKept(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Auth: sim.TokenAuth})
	w.Inject(sim.Injection{Path: "^/v2/$", Do: sim.Status(http.StatusTeapot)})
	p := w.promoter()
	if _, err := p.Resolve(t.Context(), newSHA, ForVerify); err == nil {
		t.Fatal("signed in to a registry that does not say how")
	}
	w.Heal()
	if _, err := p.Resolve(t.Context(), newSHA, ForVerify); err != nil {
		t.Error(err)
	}
}

// TestGreenAgainAfterRed keeps the way back that the first green run recorded.
func TestGreenAgainAfterRed(t *testing.T) { synctest.Test(t, testGreenAgainAfterRed) }

func testGreenAgainAfterRed(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(newSHA)
	w.must(topSHA)
	w.reject(topSHA)
	w.must(topSHA)
	if _, err := w.promoter().Rollback(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	w.same("latest", "staging-4c1d56e")
}

// TestDamagedTargetDoesNotKeepAGoodOneOut only leaves their order unknown.
func TestDamagedTargetDoesNotKeepAGoodOneOut(t *testing.T) {
	synctest.Test(t, testDamagedTargetDoesNotKeepAGoodOneOut)
}

func testDamagedTargetDoesNotKeepAGoodOneOut(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: oldSHA, Tag: "latest", Index: true})
	m, err := registry.ParseManifest("", w.Manifest(apps[0], "latest"))
	if err != nil {
		t.Fatal(err)
	}
	w.remove(apps[0], m.Content.Manifests[0].Digest.String())
	_, err = w.promoter().Resolve(t.Context(), newSHA, ForVerify)
	expectRefusal(t, err, RuleOrderUnknown)
	plan, err := w.promoter(force("the present one is damaged")).Resolve(t.Context(), newSHA, ForVerify)
	if err != nil || !strings.Contains(strings.Join(plan.Warnings, "; "), "damaged") {
		t.Errorf("%q", plan.Warnings)
	}
}

// TestOldConfirmationDoesNotCount has the source move after Confirm.
func TestOldConfirmationDoesNotCount(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{})
		c := resolved(t, w.promoter())
		if err := c.Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.publish(sim.Build{SHA: topSHA, Tag: "staging-4c1d56e"})
		time.Sleep(2 * time.Second)
		expectOpen(t, c.Promote(t.Context(), green), "staging-4c1d56e")
		w.same("latest", "staging-1f0c7be")
	})
}

// TestCandidateIsSafeToShare reads everything while everything changes; the race
// detector judges.
func TestCandidateIsSafeToShare(t *testing.T) { synctest.Test(t, testCandidateIsSafeToShare) }

func testCandidateIsSafeToShare(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	c := resolved(t, w.promoter(withCanary))
	reads := func() error {
		for range 100 {
			if c.Images()[0].Digest == "" || c.Canary().Tag == "" {
				return errors.New("facts got lost")
			}
			c.Warnings()
		}
		return nil
	}
	err := parallel.Together(reads, reads,
		func() error { return c.MoveCanary(t.Context()) }, func() error { return c.Confirm(t.Context()) },
		func() error { return c.Preflight(t.Context()) }, func() error { return c.Promote(t.Context(), green) },
	)
	if err != nil || !report.Everywhere(c.Images()) {
		t.Errorf("%v, %+v", err, c.Images())
	}
}
