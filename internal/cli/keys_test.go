package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// No line of a private key can be printed; the lines that every key has can.
func TestPrivateKeyIsHidden(t *testing.T) {
	key, err := os.ReadFile("../../ledger/testdata/openssl-p256.pem")
	if err != nil {
		t.Fatal(err)
	}
	redact := secret.NewRedactor(keyLines(secret.New(string(key)))...)
	shown := redact.Redact(string(key))
	for line := range strings.Lines(string(key)) {
		hidden := !strings.Contains(shown, strings.TrimSpace(line))
		if armour := strings.HasPrefix(line, "-----"); hidden == armour {
			t.Errorf("of %q, hidden is %v", line, hidden)
		}
	}
}

func TestStateFileKeepsTheNewest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	digest := report.Digest("sha256:" + strings.Repeat("a", 64))
	tell := func(target string, goSeq, stopSeq int64) {
		t.Helper()
		f := &stateFile{path: path, target: target}
		err := f.Tell(t.Context(), map[string]ledger.Seen{"host/app": {Go: ledger.Ref{Seq: goSeq, Digest: digest}, Stop: ledger.Ref{Seq: stopSeq, Digest: digest}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(target string) ledger.Seen {
		t.Helper()
		seen, err := (&stateFile{path: path, target: target}).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return seen["host/app"]
	}
	if got := read("latest"); got != (ledger.Seen{}) {
		t.Errorf("without a file it has %v", got)
	}
	tell("latest", 5, 4)
	tell("latest", 4, 6)
	tell("stable", 2, 2)
	if got := read("latest"); got.Go.Seq != 5 || got.Stop.Seq != 6 {
		t.Errorf("it has %v, want 5 and 6", got)
	}
	if got := read("stable"); got.Go.Seq != 2 {
		t.Errorf("another target has %v", got)
	}
	for _, content := range []string{"", "null", "[]", `{"latest":{"host/app":{"go":[1]}}}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := (&stateFile{path: path, target: "latest"}).Read(t.Context()); err == nil {
			t.Errorf("%q is read as a state", content)
		}
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
}
