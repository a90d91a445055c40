package secret

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// encodings are those in which a secret comes back.
var encodings = map[string]func(string) string{
	"plain":          func(s string) string { return s },
	"upper case":     strings.ToUpper,
	"lower case":     strings.ToLower,
	"query":          url.QueryEscape,
	"query, lower":   func(s string) string { return strings.ToLower(url.QueryEscape(s)) },
	"path":           url.PathEscape,
	"percent":        each("%%%02X"),
	"percent, lower": each("%%%02x"),
	"percent twice":  func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"Go":             strconv.Quote,
	"Go twice":       func(s string) string { return strconv.Quote(strconv.Quote(s)) },
	`\x`:             each(`\x%02x`),
	`\u`:             eachRune(`\u%04x`),
	`\u, upper`:      eachRune(`\u%04X`),
	`\U`:             eachRune(`\U%08x`),
	"JSON":           jsonOf,
	`JSON with \/`:   func(s string) string { return strings.ReplaceAll(jsonOf(s), "/", `\/`) },
	"HTML":           html.EscapeString,
	"entities":       strings.NewReplacer("&", "&amp;", "/", "&sol;", "=", "&equals;", `"`, "&QUOT;", "%", "&percnt;", "_", "&lowbar;").Replace,
	"decimal":        eachRune("&#%d;"),
	"hexadecimal":    eachRune("&#x%x;"),
	"HEXADECIMAL":    eachRune("&#X%04X;"),
	"JSON in HTML":   func(s string) string { return html.EscapeString(strconv.Quote(s)) },
	"hex":            func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":            func(s string) string { return fmt.Sprintf("%X", s) },
	"shell":          func(s string) string { return `'` + strings.ReplaceAll(s, `'`, `'\''`) + `'` },
	"shell in HTML":  func(s string) string { return html.EscapeString(strings.ReplaceAll(s, `'`, `'\''`)) },
	"shell, Python":  func(s string) string { return `'` + strings.ReplaceAll(s, `'`, `'"'"'`) + `'` },
	`shell, \`:       strings.NewReplacer(`"`, `\"`, `'`, `\'`, "/", `\/`, `\`, `\\`, "&", `\&`, "+", `\+`).Replace,
	"SQL":            func(s string) string { return strings.ReplaceAll(s, `'`, `''`) },
	"CSV":            func(s string) string { return strings.ReplaceAll(s, `"`, `""`) },
	"base64":         func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64url":      func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64, lower":  func(s string) string { return strings.ToLower(base64.RawStdEncoding.EncodeToString([]byte(s))) },
	"base64, query":  func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
}

// each writes every byte with a format.
func each(format string) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, format, s[i])
		}
		return b.String()
	}
}

// eachRune writes every character of UTF-16 with a format.
func eachRune(format string) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for _, r := range s {
			if high, low := utf16.EncodeRune(r); high != utf8.RuneError && strings.HasPrefix(format, `\u`) {
				fmt.Fprintf(&b, format, high)
				r = low
			}
			fmt.Fprintf(&b, format, r)
		}
		return b.String()
	}
}

func jsonOf(s string) string {
	data, _ := json.Marshal(s) // a string always marshals
	return string(data)
}

// Marks around a secret, which no mask may take along.
const begin, end = "before <", "> after"

// untouched are the characters besides a mask that an encoding may leave: quotes
// and padding.
const untouched = `'"=&#34;%D2\`

// TestRedactFindsEveryEncoding holds that of a secret of visible characters
// nothing is left, whatever it was written in.
func TestRedactFindsEveryEncoding(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	secrets := []string{token, "token-of-canary-a", `it's "quoted"`, `%41&amp;\x41\\`, "pass word", "Straße-für-Ümläute", "😀🔑🚀"}
	for range 20 {
		secrets = append(secrets, visible(random, 8+random.IntN(40)))
	}
	for _, s := range secrets {
		r := NewRedactor(New("another-secret"), New(s), New(""))
		for name, encode := range encodings {
			got := r.Redact(begin + encode(s) + end)
			rest, ok := strings.CutPrefix(got, begin)
			rest, ok2 := strings.CutSuffix(rest, end)
			if !ok || !ok2 || !strings.Contains(rest, Mask) || strings.Trim(strings.Replace(rest, Mask, "", 1), untouched) != "" {
				t.Errorf("%q in %s, %q: %q", s, name, encode(s), got)
			}
		}
	}
}

// visible returns a random secret of n visible ASCII characters.
func visible(random *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + random.IntN('~'-'!'+1))
	}
	return string(b)
}

// TestRedactFindsASecretInsideBase64 holds that of what stood around a secret
// when it was encoded something is left, and of the secret at most a character.
func TestRedactFindsASecretInsideBase64(t *testing.T) {
	const s = "8-chars!"
	r := NewRedactor(New(s))
	for _, before := range []string{"", "u:", "me:", "use:", "user:"} {
		for _, after := range []string{"", "\n", "and more"} {
			for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
				text := encoding.EncodeToString([]byte(before + s + after))
				got := r.Redact(text)
				left := len(got) - len(Mask) - (len(before)*8+5)/6 - (len(after)*8+5)/6
				if !strings.Contains(got, Mask) || left > 4 {
					t.Errorf("%q of %q: %q, %d characters too many", text, before+s+after, got, left)
				}
			}
		}
	}
}

func TestRedactFindsEachLine(t *testing.T) {
	const key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nAgEGCCqGSM49AwEHBG0w\n-----END PRIVATE KEY-----\n"
	r := NewRedactor(New(key))
	for text, want := range map[string]string{
		key:                    Mask,
		strconv.Quote(key):     `"` + Mask + `"`,
		"MIGHAgEAMBMGByqGSM49": Mask,
		"the line\nAgEGCCqGSM49AwEHBG0w,\nof -----BEGIN PRIVATE KEY-----": "the line\n" + Mask + ",\nof -----BEGIN PRIVATE KEY-----",
	} {
		if got := r.Redact(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
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
	if got := NewRedactor(New("abcdef"), New("defghi")).Redact("abcdefghi and abcdef"); got != Mask+" and "+Mask {
		t.Errorf("of secrets that overlap a part was left: %q", got)
	}
	for _, text := range []string{`C:\new\x4 100% &amp; R&D; &notit; \u12 %zz \`, "It's", "&", "%", `\`, "'", "&;", `\ud83d\u0041`} {
		if got := NewRedactor(New("secret-one")).Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := NewRedactor(New("secret-one")).Longest(); got < len("secret-one") {
		t.Errorf("longest is %d", got)
	}
}

// FuzzRedact demands that a secret is found in every encoding, whatever stands
// around it, and that what is not a secret stays.
func FuzzRedact(f *testing.F) {
	f.Add("secret-token", "before ", " after")
	f.Add("aaaa", "aa", "aaaaa")
	f.Add(`\x41%41&lt;`, `\`, "&")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		r := NewRedactor(New(secret))
		if len(secret) < minRedact {
			return
		}
		for name, encode := range map[string]func(string) string{"plain": encodings["plain"], "JSON": jsonOf, "HTML": html.EscapeString, "query": url.QueryEscape, "percent": each("%%%02x"), "hex": encodings["hex"]} {
			encoded := encode(secret)
			if plain := name == "JSON" || name == "HTML"; plain && strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r == 0xfffd }) {
				continue // these change such characters
			}
			if got := r.Redact(before + " " + encoded + " " + after); !strings.Contains(got, Mask) || strings.Contains(got, " "+encoded+" ") {
				t.Errorf("%s: %q is left in %q", name, encoded, got)
			}
		}
		for piece := range strings.SplitSeq(r.Redact(before+secret+after), Mask) { // a mask and its neighbours may spell anything
			if strings.Contains(piece, secret) {
				t.Errorf("%q is left in %q", secret, piece)
			}
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	var secrets []Value
	for i := range 10_000 {
		secrets = append(secrets, New(fmt.Sprintf("token-of-canary-%05d", i)))
	}
	const plain = "some text of a tenant ends here. "
	for name, text := range map[string]string{
		"300B": strings.Repeat(plain, 10)[:300], "1MiB": strings.Repeat(plain, 1<<15)[:1<<20],
		"1MiB_of_escapes":    strings.Repeat(`{"a": "b\/c\u002f"} &lt;p&gt; %2F`+"\n", 1<<15)[:1<<20],
		"1MiB_of_beginnings": strings.Repeat("token-of-canary-0000x, ", 1<<16)[:1<<20],
	} {
		for _, n := range []int{1, 1_000, 10_000} {
			r := NewRedactor(secrets[:n]...)
			b.Run(fmt.Sprintf("%s/%d_secrets", name, n), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					r.Redact(text)
				}
			})
		}
	}
}
