package promote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// expectRefusal fails unless err is a refusal by the rule.
func expectRefusal(t *testing.T, err error, rule string) {
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

func TestMissingSourceIsRefused(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	plan, err := w.promoter().Resolve(t.Context(), "ddddddd", ForVerify)
	expectRefusal(t, err, ruleMissing)
	if plan == nil || plan.Images[0].Previous == "" || !strings.Contains(err.Error(), apps[0]) || !strings.Contains(err.Error(), apps[1]) {
		t.Errorf("%+v, %v", plan, err)
	}
}

func TestSHAs(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	for _, sha := range []string{"", "short", "zzzzzzz", newSHA + "0"} {
		if plan, err := w.promoter().Resolve(t.Context(), sha, ForVerify); err == nil || plan == nil {
			t.Errorf("%q is taken", sha)
		}
	}
	if _, err := w.promoter(func(c *Config) { c.SourceTag = "{full-sha}" }).Resolve(t.Context(), newSHA[:7], ForVerify); err == nil {
		t.Error("a short sha is taken for {full-sha}")
	}
	if n := len(w.Requests()); n > 0 {
		t.Errorf("%d requests", n)
	}
	w.must(strings.ToUpper(newSHA[:12]))
}

func TestContradictingRevisionIsRefusedEvenByForce(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: topSHA, Tag: "staging-4c1d56e"})
	_, err := w.promoter(func(c *Config) { c.Force = "I insist" }).Resolve(t.Context(), newSHA, ForVerify)
	expectRefusal(t, err, ruleRevision)
}

func TestIndexTellsThroughItsFirstChild(t *testing.T) {
	for _, docker := range []bool{true, false} {
		w := newWorld(t, sim.RegistryConfig{CheckBlobs: true})
		digests := w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e", Index: true, Docker: docker})
		plan := w.must(newSHA)
		if plan.Images[0].Revision != newSHA || !plan.Images[0].Created.Equal(built[newSHA]) {
			t.Errorf("docker=%t: %+v", docker, plan.Images[0])
		}
		for i, app := range apps {
			if now := w.Digest(app, "latest"); now != digests[app] || plan.Images[i].Digest != now {
				t.Errorf("docker=%t: %s is at %s, want %s", docker, app, now, digests[app])
			}
			if a, b := w.Manifest(app, "latest"), w.Manifest(app, "staging-4c1d56e"); string(a) != string(b) {
				t.Error("other bytes")
			}
		}
	}
}

func TestBackwardsIsRefusedAndForceIsRecorded(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(topSHA)
	_, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
	expectRefusal(t, err, ruleBackwards)
	plan := w.must(newSHA, func(c *Config) { c.Force = "9e77a10 eats invoices" })
	w.same("latest", "staging-4c1d56e")
	if len(plan.Warnings) != 2 || !strings.Contains(plan.Warnings[0], "forced") {
		t.Errorf("%q", plan.Warnings)
	}
	newest, err := w.repository(apps[0]).newest(t.Context(), plan.Images[0].Digest)
	if err != nil || newest == nil || !strings.Contains(newest.Reason, "9e77a10 eats invoices") {
		t.Errorf("%+v, %v", newest, err)
	}
}

// A forgeStub tells relations from a table.
type forgeStub map[string]Relation

func (f forgeStub) Compare(_ context.Context, base, next string) (Relation, error) {
	if r, found := f[short(base)+" "+short(next)]; found {
		return r, nil
	}
	return UnknownRelation, errors.New("the forge is down")
}

func TestAncestryDecides(t *testing.T) {
	for _, tt := range []struct {
		name  string
		forge forgeStub
		rule  string
		warns bool
	}{
		{"ancestor, though created later", forgeStub{"1f0c7be 4c1d56e": Behind}, ruleBackwards, false},
		{"descendant", forgeStub{"1f0c7be 4c1d56e": Ahead}, "", false},
		{"unknown", forgeStub{"1f0c7be 4c1d56e": UnknownRelation}, "", true},
		{"down", forgeStub{}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
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
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	_, err := w.carry(t.Context(), w.promoter(), newSHA, ForPromote)
	expectRefusal(t, err, ruleGreen)
	w.must(newSHA)
	w.reject(newSHA)
	_, err = w.carry(t.Context(), w.promoter(), newSHA, ForPromote)
	expectRefusal(t, err, ruleGreen)
	w.must(newSHA) // judged again, green
	w.must(topSHA)
	if _, err := w.promoter().Rollback(t.Context(), newSHA, ""); err != nil {
		t.Fatal(err)
	}
	plan, err := w.carry(t.Context(), w.promoter(func(c *Config) { c.Force = "it was fine" }), topSHA, ForPromote)
	if err != nil {
		t.Fatal(err)
	}
	w.same("latest", "staging-9e77a10")
	newest, err := w.repository(apps[0]).newest(t.Context(), plan.Images[0].Digest)
	if err != nil || newest.Event != PromotedBy || !strings.Contains(newest.Reason, "it was fine") {
		t.Errorf("%+v, %v", newest, err)
	}
}

func TestConfirmFindsWhatMoved(t *testing.T) {
	for _, tag := range []string{"staging-4c1d56e", "latest"} {
		t.Run(tag, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{})
			p := w.promoter()
			plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
			if err != nil {
				t.Fatal(err)
			}
			w.publish(sim.Build{SHA: topSHA, Tag: tag, Images: apps[1:]})
			w.ResetLog()
			expectOpen(t, p.Confirm(t.Context(), plan), tag)
			expectOpen(t, p.Promote(t.Context(), plan, green), "run again")
			if w.Count(http.MethodPut, http.MethodPost, http.MethodDelete) > 0 {
				t.Error("something was written:\n" + w.list())
			}
			if w.Digest(apps[0], "latest") != plan.Images[0].Previous {
				t.Error("the other image was moved")
			}
		})
	}
}

// TestMovedBetweenConfirmAndMove has the target move after Confirm.
func TestMovedBetweenConfirmAndMove(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	p := w.promoter()
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err == nil {
		err = p.Confirm(t.Context(), plan)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.publish(sim.Build{SHA: topSHA, Tag: "latest", Images: apps[1:]})
	expectOpen(t, p.Promote(t.Context(), plan, green), "somebody else")
	if w.Digest(apps[0], "latest") != plan.Images[0].Previous || w.Digest(apps[1], "latest") != w.Digest(apps[1], "staging-9e77a10") {
		t.Error("something was moved")
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	for name, kind := range matrixKinds {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kind)
			w.must(newSHA)
			w.ResetLog()
			dry := func(c *Config) { c.DryRun, c.CanaryTag = true, "canary" }
			plan := w.must(topSHA, dry)
			p := w.promoter(dry)
			p.Reject(t.Context(), plan, green)
			result, err := p.Rollback(t.Context(), "", "just looking")
			if err != nil || result.ToSHA != oldSHA || result.Plan.Images[0].State != Unchanged {
				t.Errorf("%+v, %v", result, err)
			}
			if n := w.Count(http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete); n > 0 {
				t.Errorf("%d writes:\n%s", n, w.list())
			}
			if plan.Images[0].State != Unchanged || plan.Images[0].Now != plan.Images[0].Previous || plan.Canary.State != canaryUntouched {
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
			m, err := parseManifest("", w.Manifest(apps[1], tt.tag))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.repository(apps[1]).untag(t.Context(), m.content.Manifests[1].Digest.String()); err != nil {
				t.Fatal(err)
			}
			var failed *MoveError
			if err := p.Preflight(t.Context(), plan); !errors.As(err, &failed) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), apps[1]) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("a registry that is down leaves it open", func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{})
		p := w.promoter()
		plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
		if err != nil {
			t.Fatal(err)
		}
		w.Inject(sim.Injection{Method: http.MethodHead, Do: sim.Status(503)})
		expectOpen(t, p.Preflight(t.Context(), plan), "503")
	})
}

func TestCanaryTag(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: oldSHA, Tag: "canary", Images: apps[:1]}) // absent on the other
	p := w.promoter(withCanary)
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err == nil {
		err = p.MoveCanary(t.Context(), plan)
	}
	if err != nil || plan.Canary.State != canaryMoved {
		t.Fatal(err, plan.Canary)
	}
	w.same("canary", "staging-4c1d56e")
	w.same("latest", "staging-1f0c7be")
	if err := p.RestoreCanary(t.Context(), plan); err != nil || plan.Canary.State != canaryRestored {
		t.Error(err, plan.Canary)
	}
	if w.Digest(apps[0], "canary") != w.Digest(apps[0], "staging-1f0c7be") || w.Digest(apps[1], "canary") != "" {
		t.Errorf("canary is at %v", w.at("canary"))
	}
	if err := p.RestoreCanary(t.Context(), plan); err != nil || plan.Canary.State != canaryRestored {
		t.Error("a second time:", err, plan.Canary)
	}
	for _, other := range []*Plan{nil, {}, {Canary: CanaryPlan{Tag: "canary"}}} {
		if err := p.RestoreCanary(t.Context(), other); err != nil {
			t.Error(err)
		}
	}
}

func TestCanaryTagThatFails(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: oldSHA, Tag: "canary"})
	before := w.at("canary")
	w.Inject(sim.Injection{Method: http.MethodPut, Path: apps[1] + "/manifests/canary", Do: sim.Status(403)})
	p := w.promoter(withCanary)
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.MoveCanary(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("%v", err)
	}
	if now := w.at("canary"); !slices.Equal(now, before) || plan.Canary.State != canaryRestored {
		t.Errorf("%v, %+v", now, plan.Canary)
	}
}

func TestRollbackToACommit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ahead func(w *world)
		sha   string
		force string
		to    string // tag; "" is refused
		rule  string
	}{
		{"verified before", nil, newSHA, "", "staging-4c1d56e", ""},
		{"by seven digits", nil, newSHA[:7], "", "staging-4c1d56e", ""},
		{"in production before records began", nil, oldSHA, "", "staging-1f0c7be", ""},
		{"never heard of", nil, "ddddddd", "", "", ruleUnknown},
		{"never heard of, forced", nil, "ddddddd", "I insist", "", ruleUnknown},
		{"rejected", func(w *world) { w.reject(newSHA) }, newSHA, "", "", ruleGreen},
		{"rejected, forced", func(w *world) { w.reject(newSHA) }, newSHA, "it was a flaky check", "staging-4c1d56e", ""},
		{"built but never verified", func(w *world) { w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa"}) }, thirdSHA, "", "", ruleUnknown},
		{"never verified, forced", func(w *world) { w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa"}) }, thirdSHA, "anything but this", "staging-0000aaa", ""},
		{"source tag of one image is another commit's", func(w *world) { w.publish(sim.Build{SHA: oldSHA, Tag: "staging-4c1d56e", Images: apps[1:]}) }, newSHA, "", "", ruleRevision},
		{"source tags deleted, found in the history", func(w *world) {
			for _, app := range apps {
				if err := w.repository(app).untag(w.t.Context(), "staging-4c1d56e"); err != nil {
					w.t.Fatal(err)
				}
			}
			w.publish(sim.Build{SHA: newSHA, Tag: "copy"})
		}, newSHA, "", "copy", ""},
		{"where it is already", nil, topSHA, "", "staging-9e77a10", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
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
			if result.FromSHA != topSHA || !strings.HasPrefix(result.ToSHA, tt.sha) || result.Left == nil || result.Left.SHA != topSHA {
				t.Errorf("%+v", result)
			}
		})
	}
}

// thirdSHA is a commit that no test's story has promoted.
const thirdSHA = "0000aaae0b7a92f3844de61c05b9a7d20e8f31c6"

func TestRollbackLeavesWhatIsDamaged(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e", Index: true})
	w.must(newSHA)
	m, err := parseManifest("", w.Manifest(apps[0], "latest"))
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range m.content.Manifests {
		if err := w.repository(apps[0]).untag(t.Context(), child.Digest.String()); err != nil {
			t.Fatal(err)
		}
	}
	result, err := w.promoter().Rollback(t.Context(), "", "")
	if err != nil || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "no way back") {
		t.Errorf("%+v, %v", result, err)
	}
	w.same("latest", "staging-1f0c7be")
}

func TestRollbackToWhatIsGone(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(newSHA)
	w.must(topSHA)
	digest := w.Digest(apps[1], "staging-4c1d56e")
	for _, ref := range []string{"staging-4c1d56e", digest} {
		if err := w.repository(apps[1]).untag(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.promoter().Rollback(t.Context(), newSHA, "")
	expectRefusal(t, err, ruleUnknown)
	w.same("latest", "staging-9e77a10")
}

func TestRollbackThatFailsHalfway(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(newSHA)
	w.Inject(sim.Injection{Method: http.MethodPut, Path: apps[1] + "/manifests/latest", Do: sim.Status(403)})
	result, err := w.promoter().Rollback(t.Context(), "", "")
	var failed *MoveError
	if !errors.As(err, &failed) || result.Plan.Images[0].State != Restored || result.Plan.Images[1].State != Unchanged {
		t.Errorf("%v, %+v", err, result)
	}
	w.same("latest", "staging-4c1d56e")
	w.Heal()
	if _, err := w.promoter().Rollback(t.Context(), "", ""); err != nil {
		t.Error(err)
	}
	w.same("latest", "staging-1f0c7be")
}

func TestRollbackWithoutRecords(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	_, err := w.promoter().Rollback(t.Context(), "", "")
	expectRefusal(t, err, ruleUnknown)
}

func TestHistoryShowsABrokenChain(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(newSHA)
	w.must(topSHA)
	if err := w.repository(apps[0]).untag(t.Context(), w.Digest(apps[0], "staging-1f0c7be")); err != nil {
		t.Fatal(err)
	}
	history, err := w.promoter().History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range history {
		got = append(got, fmt.Sprintf("%s %s %s %t %t", strings.TrimPrefix(h.Image, w.Host()+"/"), short(h.SHA), h.Event, h.Current, h.Broken != ""))
	}
	want := []string{
		"org/platform 9e77a10 verified true false", "org/platform 4c1d56e verified false false", "org/platform   false true",
		"org/tenant 9e77a10 verified true false", "org/tenant 4c1d56e verified false false", "org/tenant 1f0c7be  false false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestHistoryThereAndBack is no loop: A replaced B, which had replaced A.
func TestHistoryThereAndBack(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	force := func(c *Config) { c.Force = "there and back" }
	for _, sha := range []string{newSHA, topSHA, newSHA, topSHA} {
		w.must(sha, force)
	}
	history, err := w.promoter().History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range history {
		if strings.HasSuffix(h.Image, apps[0]) {
			got = append(got, short(h.SHA))
		}
	}
	if want := []string{"9e77a10", "4c1d56e", "9e77a10", "4c1d56e", "1f0c7be"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestHistoryOfNothing(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	if h, err := w.promoter(func(c *Config) { c.TargetTag = "stable" }).History(t.Context()); len(h) > 0 || err != nil {
		t.Errorf("%v, %v", h, err)
	}
	w.Inject(sim.Injection{Do: sim.Status(500)})
	if _, err := w.promoter().History(t.Context()); err == nil {
		t.Error("no error")
	}
}

// TestForeignPlan must not be carried out.
func TestForeignPlan(t *testing.T) {
	p := newWorld(t, sim.RegistryConfig{}).promoter(withCanary)
	for name, plan := range map[string]*Plan{"nil": nil, "empty": {}, "made up": {SHA: newSHA, Images: []ImagePlan{{Digest: "sha256:0"}}}} {
		for method, err := range map[string]error{
			"Preflight": p.Preflight(t.Context(), plan), "Confirm": p.Confirm(t.Context(), plan),
			"Prepare": p.Prepare(t.Context(), plan, green), "Promote": p.Promote(t.Context(), plan, green),
		} {
			if err == nil {
				t.Errorf("%s takes a plan that is %s", method, name)
			}
		}
		p.Reject(t.Context(), plan, green)
	}
	if err := p.MoveCanary(t.Context(), nil); err == nil {
		t.Error("MoveCanary takes nil")
	}
}

// TestGreenAgainAfterRed keeps the way back that the first green run recorded.
func TestGreenAgainAfterRed(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(newSHA)
	w.must(topSHA)
	w.reject(topSHA)
	plan := w.must(topSHA)
	newest, err := w.repository(apps[0]).newest(t.Context(), plan.Images[0].Digest)
	if err != nil || newest == nil || newest.Event != Verified || newest.Replaced != "" && newest.Replaced == newest.Digest {
		t.Errorf("%+v, %v", newest, err)
	}
	if _, err := w.promoter().Rollback(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	w.same("latest", "staging-4c1d56e")
}

// TestDamagedTargetDoesNotKeepAGoodOneOut only leaves their order unknown.
func TestDamagedTargetDoesNotKeepAGoodOneOut(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: oldSHA, Tag: "latest", Index: true})
	m, err := parseManifest("", w.Manifest(apps[0], "latest"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.repository(apps[0]).untag(t.Context(), m.content.Manifests[0].Digest.String()); err != nil {
		t.Fatal(err)
	}
	plan, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
	if err != nil || len(plan.Warnings) == 0 || !strings.Contains(plan.Warnings[0], "damaged") {
		t.Errorf("%v, %q", err, plan.Warnings)
	}
}

// TestOldConfirmationDoesNotCount has the source move after Confirm.
func TestOldConfirmationDoesNotCount(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	p := w.promoter()
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err == nil {
		err = p.Confirm(t.Context(), plan)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.publish(sim.Build{SHA: topSHA, Tag: "staging-4c1d56e"})
	p.t.fresh = 0
	expectOpen(t, p.Promote(t.Context(), plan, green), "staging-4c1d56e")
	w.same("latest", "staging-1f0c7be")
}

// TestStay picks the records of one stay behind a tag.
func TestStay(t *testing.T) {
	at := func(hours int, e Event, target, replaced string) *Record {
		return &Record{Event: e, Time: built[oldSHA].Add(time.Duration(hours) * time.Hour), Target: target, Replaced: replaced, SHA: newSHA}
	}
	recs := []*Record{
		at(9, Verified, "latest", "ahead of a move that failed"), at(7, PromotedBy, "stable", "x"),
		at(6, RolledBack, "latest", ""), at(5, Verified, "latest", "twin"), at(5, Verified, "latest", "a"), at(1, Verified, "latest", "b"),
	}
	visited := map[Record]bool{}
	bound := recs[2].Time
	for _, want := range []string{"twin", "a", "b"} {
		s := stay(recs, "latest", "d", bound, visited)
		if s.arrival == nil || s.arrival.Replaced != want || s.newest != recs[0] {
			t.Errorf("%+v, want the one that replaced %s", s.arrival, want)
			continue
		}
		bound = s.arrival.Time
	}
	if s := stay(recs, "latest", "d", bound, visited); s.arrival != nil || s.broken == "" {
		t.Errorf("%+v", s)
	}
}
