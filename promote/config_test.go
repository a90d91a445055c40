package promote

import (
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// flat takes a joined error apart.
func flat(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, flat(e)...)
		}
		return out
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func TestNewFindsEverythingInvalidAtOnce(t *testing.T) {
	_, err := New(Config{
		Images: []string{
			"ghcr.io/org/app", "ghcr.io/org/app:latest", "ghcr.io/org/app@sha256:" + strings.Repeat("a", 64), "ghcr.io/Org/app",
			"https://ghcr.io/org/app", "GHCR.IO/org/app", "", "nginx", "docker.io/library/nginx", "other.example/app", "ghcr.io/org//app",
			"ghcr.io/org/app-", "bob:hunter22@ghcr.io/org/app", "-bad.example/app",
		},
		SourceTag: "staging-{sha}-{date}", TargetTag: "-latest", CanaryTag: "a b",
		Username: "robot", Password: secret.New(""),
	})
	var got []string
	for _, e := range flat(err) {
		got = append(got, e.Error())
	}
	want := []string{
		`Images: entry 2: "ghcr.io/org/app:latest" has a tag`,
		"Images: entry 3: \"ghcr.io/org/app@sha256:aaaa",
		`Images: entry 4: "ghcr.io/Org/app" has upper-case`,
		`Images: entry 5: "https://ghcr.io/org/app" is a URL`,
		`Images: entry 6: "GHCR.IO/org/app" is the same repository as entry 1`,
		`Images: entry 7: "" is empty`,
		`Images: entry 9: "docker.io/library/nginx" is the same repository as entry 8`,
		`Images: entry 11: "ghcr.io/org//app" is not a repository`,
		`Images: entry 12: "ghcr.io/org/app-" is not a repository`,
		`Images: entry 13: (not shown: it may hold credentials) has a digest or credentials`,
		`Images: entry 14: "-bad.example/app" has a host that is not valid`,
		`SourceTag: "staging-{sha}-{date}" has the unknown placeholder "{date}"`,
		`TargetTag: "-latest" is not a tag`,
		`CanaryTag: "a b" is not a tag`,
		`Password: missing`,
		`Username: is for one registry, but images are at ghcr.io, index.docker.io, other.example`,
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected: %s", got[i])
		case !strings.HasPrefix(got[i], want[i]):
			t.Errorf("error %d is %q, want %q…", i, got[i], want[i])
		}
	}
	if strings.Contains(err.Error(), "hunter22") {
		t.Error("a password is shown")
	}
}

func TestCheckTags(t *testing.T) {
	for _, tt := range []struct {
		name, source, target, canary string
		want                         string // in the error; "" is none
	}{
		{"defaults", "staging-{sha}", "latest", "", ""},
		{"full sha and canary", "{full-sha}", "latest", "canary", ""},
		{"no placeholder", "staging", "latest", "", ""},
		{"source is target", "latest", "latest", "", "TargetTag"},
		{"source may become target", "staging-{sha}", "staging-1f0c7be", "", "TargetTag"},
		{"source may become canary", "{sha}", "latest", "abcdef0", "CanaryTag"},
		{"canary is target", "staging-{sha}", "latest", "latest", "CanaryTag"},
		{"defaults for what is empty", "", "", "", ""},
		{"open brace", "staging-{sha", "latest", "", "placeholder"},
		{"close brace", "staging-sha}", "latest", "", "placeholder"},
		{"upper-case placeholder", "staging-{SHA}", "latest", "", "placeholder"},
		{"too long", strings.Repeat("a", 122) + "{sha}", "latest", "", "SourceTag"},
		{"as long as may be", strings.Repeat("a", 121) + "{sha}", "latest", "", ""},
		{"a dot first", ".{sha}", "latest", "", "SourceTag"},
		{"a digest as a tag", "staging-{sha}", "sha256:abc", "", "TargetTag"},
		{"line break", "staging-{sha}", "latest\n", "", "TargetTag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Config{SourceTag: tt.source, TargetTag: tt.target, CanaryTag: tt.canary}.withDefaults().checkTags()
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	for _, tt := range []struct {
		name, username, password, want string
	}{
		{"both", "robot", "hunter2222", ""},
		{"none", "", "", ""},
		{"no password", "robot", "", "Password"},
		{"no username", "", "hunter2222", "Username"},
		{"colon", "ro:bot", "hunter2222", "colon"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(Config{Images: []string{"ghcr.io/a", "ghcr.io/b"}, SourceTag: "{sha}", TargetTag: "latest", Username: tt.username, Password: secret.New(tt.password)})
			if (err != nil) != (tt.want != "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter")) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzCheckTags(f *testing.F) {
	f.Add("staging-{sha}", "latest", "canary", newSHA)
	f.Add("{full-sha}", newSHA, "", newSHA)
	f.Add("{sha}{sha}", "", "{", oldSHA)
	f.Fuzz(func(t *testing.T, source, target, canary, sha string) {
		c := Config{SourceTag: source, TargetTag: target, CanaryTag: canary}.withDefaults()
		if c.checkTags() != nil || c.CheckCommit(report.Commit(sha)) != nil {
			return
		}
		made := expand(c.SourceTag, report.Commit(sha))
		if !registry.ValidTag(made) || made == c.TargetTag || made == canary || c.TargetTag == canary {
			t.Errorf("%q makes %q; target %q, canary %q", source, made, target, canary)
		}
	})
}
