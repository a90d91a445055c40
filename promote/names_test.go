package promote

import (
	"strings"
	"testing"

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

func TestNewFindsEveryFaultAtOnce(t *testing.T) {
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
		`images: entry 2: "ghcr.io/org/app:latest" has a tag`,
		"images: entry 3: \"ghcr.io/org/app@sha256:aaaa",
		`images: entry 4: "ghcr.io/Org/app" has upper-case`,
		`images: entry 5: "https://ghcr.io/org/app" is a URL`,
		`images: entry 6: "GHCR.IO/org/app" is the same repository as entry 1`,
		`images: entry 7: "" is empty`,
		`images: entry 9: "docker.io/library/nginx" is the same repository as entry 8`,
		`images: entry 11: "ghcr.io/org//app" is no repository`,
		`images: entry 12: "ghcr.io/org/app-" is no repository`,
		`images: entry 13: (not shown: it may hold credentials) has a digest or credentials`,
		`images: entry 14: "-bad.example/app" has a host that is none`,
		`source-tag: "staging-{sha}-{date}" has the unknown placeholder "{date}"`,
		`target-tag: "-latest" is no tag`,
		`canary-tag: "a b" is no tag`,
		`registry-password: missing`,
		`registry-username: it is for one registry, but images are at ghcr.io, index.docker.io, other.example`,
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected: %s", got[i])
		case !strings.HasPrefix(got[i], want[i]):
			t.Errorf("fault %d is %q, want %q…", i, got[i], want[i])
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
		{"source is target", "latest", "latest", "", "target-tag"},
		{"source may become target", "staging-{sha}", "staging-1f0c7be", "", "target-tag"},
		{"source may become canary", "{sha}", "latest", "abcdef0", "canary-tag"},
		{"canary is target", "staging-{sha}", "latest", "latest", "canary-tag"},
		{"empty source", "", "latest", "", "source-tag"},
		{"empty target", "staging-{sha}", "", "", "target-tag"},
		{"open brace", "staging-{sha", "latest", "", "placeholder"},
		{"close brace", "staging-sha}", "latest", "", "placeholder"},
		{"upper-case placeholder", "staging-{SHA}", "latest", "", "placeholder"},
		{"too long", strings.Repeat("a", 122) + "{sha}", "latest", "", "source-tag"},
		{"as long as may be", strings.Repeat("a", 121) + "{sha}", "latest", "", ""},
		{"a dot first", ".{sha}", "latest", "", "source-tag"},
		{"a digest as a tag", "staging-{sha}", "sha256:abc", "", "target-tag"},
		{"line break", "staging-{sha}", "latest\n", "", "target-tag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkTags(tt.source, tt.target, tt.canary)
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
		{"no password", "robot", "", "registry-password"},
		{"no username", "", "hunter2222", "registry-username"},
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

func FuzzParseImage(f *testing.F) {
	for _, s := range []string{"ghcr.io/org/app", "localhost:5000/a/b", "a", "A/b", "[::1]:5000/x", "a..b/c", "x@sha256:0", "host:99999999/x", "\x00/x", "é/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		repo, problem := parseImage(s)
		if problem != "" {
			return
		}
		again, problem := parseImage(repo.Name())
		if problem != "" || again.Name() != repo.Name() {
			t.Errorf("%q is %q, which is %q (%s)", s, repo.Name(), again.Name(), problem)
		}
		if !repositoryForm.MatchString(repo.RepositoryStr()) || strings.ContainsAny(repo.Name(), "@ \n\t?#%") {
			t.Errorf("%q got through as %q", s, repo.Name())
		}
	})
}

func FuzzCheckTags(f *testing.F) {
	f.Add("staging-{sha}", "latest", "canary", newSHA)
	f.Add("{full-sha}", newSHA, "", newSHA)
	f.Add("{sha}{sha}", "", "{", oldSHA)
	f.Fuzz(func(t *testing.T, source, target, canary, sha string) {
		if checkTags(source, target, canary) != nil || len(sha) != 40 || !commitForm.MatchString(sha) {
			return
		}
		made := expand(source, sha)
		if !tagForm.MatchString(made) || made == target || made == canary || target == canary {
			t.Errorf("%q makes %q; target %q, canary %q", source, made, target, canary)
		}
	})
}
