package secret_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// TestSlog holds that a logger shows no secret, although Value has no LogValue.
func TestSlog(t *testing.T) {
	token := secret.New("s3cret-token")
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		log := slog.New(handler(&out))
		log.Info("sent", "token", token, "pointer", &token, slog.Group("tenant", "token", token), "list", []secret.Value{token})
		log.With("token", token).Warn("refused", "tenant", struct{ Token secret.Value }{token})
		if strings.Contains(out.String(), "s3cret") {
			t.Errorf("%s handler shows the secret: %s", name, out.String())
		}
		if got := strings.Count(out.String(), secret.Mask); got != 6 {
			t.Errorf("%s handler shows the mask %d times, want 6: %s", name, got, out.String())
		}
	}
}
