package markdown

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// entities writes punctuation as numeric references, so that Markdown takes none
// of it for its own.
func entities(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > unicode.MaxASCII || strings.ContainsRune(`,;:?="'`, r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "&#%d;", r)
	}
	return b.String()
}

// Link writes a link with a label that is Markdown already. The label alone
// stands where the address is not one of the web.
func Link(label, address string) string {
	if address = WebAddress(address); address == "" {
		return label
	}
	return "[" + label + "](<" + strings.ReplaceAll(address, "&", "&amp;") + ">)"
}

// WebAddress returns an absolute http or https address in a form that ends no
// attribute and no Markdown link, without user and password; "" for anything
// else.
func WebAddress(s string) string {
	if len(s) > 2000 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }) {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	u.User = nil
	var b strings.Builder
	for _, c := range []byte(u.String()) {
		if c > '~' || strings.IndexByte("<>{}|\\^`\"'", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	if _, err := url.Parse(b.String()); err != nil { // a host can't have what was escaped
		return ""
	}
	return b.String()
}

// SameSite reports whether two addresses of the web have the same scheme and
// host, so that one of them may be a link on a page that the other vouches for.
func SameSite(a, b string) bool {
	if WebAddress(a) == "" || WebAddress(b) == "" {
		return false
	}
	one, err1 := url.Parse(a)
	two, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && one.Scheme == two.Scheme && strings.EqualFold(one.Host, two.Host)
}
