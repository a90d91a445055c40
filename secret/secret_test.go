package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

const token = `s3cr3t/t0ken+"<&>%of=canary`

func TestValueNeverShows(t *testing.T) {
	v := New(token)
	holder := struct {
		Token   Value
		Pointer *Value
		Map     map[string]Value
	}{v, &v, map[string]Value{"k": v}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		args := []any{v}
		if strings.HasPrefix(verb, "%T") {
			args = append(args, v)
		}
		fmt.Fprintf(&out, verb+"\n", args...)
		fmt.Fprintf(&out, strings.TrimPrefix(verb, "%T ")+"\n", holder)
	}
	fmt.Fprintln(&out, v, &v, fmt.Errorf("failed with %v", v))
	data, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(data)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", v, "holder", holder)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", v)
	for _, part := range []string{"s3cr3t", "canary", fmt.Sprintf("%x", "s3cr3t")} {
		if strings.Contains(out.String(), part) {
			t.Errorf("%q shows in:\n%s", part, out.String())
		}
	}
	if v.Reveal() != token || v.IsZero() || !New("").IsZero() {
		t.Error("the value itself is lost")
	}
}

func TestRedactFindsEveryEncoding(t *testing.T) {
	r := NewRedactor(New(token), New("other-token"), New(""))
	quoted, _ := json.Marshal(token)
	for name, text := range map[string]string{
		"plain": token, "query": url.QueryEscape(token), "path": url.PathEscape(token),
		"HTML": html.EscapeString(token), "JSON": string(quoted),
		"base64":           base64.StdEncoding.EncodeToString([]byte(token)),
		"Basic":            base64.StdEncoding.EncodeToString([]byte("user:" + token)),
		"Basic, shifted":   base64.StdEncoding.EncodeToString([]byte("users:" + token)),
		"Basic, shifted 2": base64.StdEncoding.EncodeToString([]byte("me:" + token)),
		"raw URL base64":   base64.RawURLEncoding.EncodeToString([]byte("u:" + token)),
		"in the middle":    base64.StdEncoding.EncodeToString([]byte("a" + token + "and more behind it")),
	} {
		got := r.Redact("before " + text + " after")
		if !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") || !strings.Contains(got, Mask) {
			t.Errorf("%s: %q", name, got)
		}
		// Of an encoding that the secret ends, at most the first group stays:
		// it depends on what stands before.
		if left := len(got) - len("before  after"+Mask); left > 12 && name != "in the middle" {
			t.Errorf("%s: %d characters are left in %q", name, left, got)
		}
	}
}

func TestRedactorKnowsWhatToLeave(t *testing.T) {
	var none *Redactor
	if got := none.Redact("text"); got != "text" || none.Longest() != 0 {
		t.Errorf("the nil redactor gives %q", got)
	}
	if got := NewRedactor(New("abc")).Redact("abcdef"); got != "abcdef" {
		t.Errorf("a word too short to be a secret was blotted out: %q", got)
	}
	if got := NewRedactor(New("secret-one"), New("secret-one-and-more")).Redact("secret-one-and-more"); got != Mask {
		t.Errorf("the shorter of two secrets left the rest of the longer: %q", got)
	}
	if got := NewRedactor(New("secret-one")).Longest(); got < len("secret-one") {
		t.Errorf("longest is %d", got)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("secret-token", "before secret-token after")
	f.Add("aaaa", "aaaaaaaa")
	f.Fuzz(func(t *testing.T, secret, text string) {
		if len(secret) < minRedact {
			return
		}
		got := NewRedactor(New(secret)).Redact(text)
		for _, piece := range strings.Split(got, Mask) { // a mask and its neighbours may spell anything
			if strings.Contains(piece, secret) {
				t.Errorf("%q survived in %q", secret, got)
			}
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	r := NewRedactor(New("token-of-canary-a"), New("token-of-canary-b"))
	for _, n := range []int{300, 1 << 20} {
		text := strings.Repeat("some text of a tenant ", n/22+1)[:n]
		b.Run(map[int]string{300: "300B", 1 << 20: "1MiB"}[n], func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				r.Redact(text)
			}
		})
	}
}
