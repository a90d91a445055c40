//go:build e2e

package summary

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown/markdowntest"
)

// These tests look at the pages as people do: in Chromium, driven by
// ChromeDriver, both from PATH (Debian's packages chromium and chromium-driver).
// They also fetch GitHub's published stylesheet with npm, for the step summary.
// With -artifacts they leave screenshots.

// cssPackage is GitHub's stylesheet for Markdown; a test's asset alone.
const cssPackage = "github-markdown-css@5.9.0"

// A browser is one session of ChromeDriver.
type browser struct {
	t       *testing.T
	session string // its address
}

// newBrowser starts ChromeDriver on a free port, and Chromium below it.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	driver, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Fatal("chromedriver is missing; install Debian's chromium and chromium-driver")
	}
	address := ""
	for range 5 { // it gives up when the port it chose is taken on the other IP version
		if port := startDriver(t, driver); port != "" {
			address = "http://127.0.0.1:" + port
			break
		}
	}
	if address == "" {
		t.Fatal("chromedriver does not start")
	}
	b := &browser{t: t, session: address}
	var created struct{ SessionID string }
	b.post("/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"goog:loggingPrefs": map[string]string{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + t.TempDir()}},
	}}}, &created)
	b.session = address + "/session/" + created.SessionID
	t.Cleanup(b.quit)
	return b
}

// startDriver starts ChromeDriver and reads the port that it chose; "" when it
// found none.
func startDriver(t *testing.T, driver string) string {
	t.Helper()
	cmd := exec.Command(driver, "--port=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, port, found := strings.Cut(lines.Text(), "successfully on port "); found {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return strings.TrimSuffix(port, ".")
		}
	}
	return ""
}

func (b *browser) quit() {
	req, _ := http.NewRequest(http.MethodDelete, b.session, nil)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

// post sends a command and decodes its value.
func (b *browser) post(path string, body, value any) {
	b.t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Post(b.session+path, "application/json", bytes.NewReader(encoded))
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %d %s %v", path, resp.StatusCode, answer, err)
	}
	if err := json.Unmarshal(answer, &struct{ Value any }{value}); err != nil {
		b.t.Fatalf("%s: %v in %s", path, err, answer)
	}
}

// cdp sends a command of the DevTools protocol.
func (b *browser) cdp(command string, params map[string]any) {
	b.t.Helper()
	b.post("/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, nil)
}

// A screen is how a reader looks at a page.
type screen struct {
	name          string
	width, height int
	scheme        string
}

var screens = []screen{{"light", 1280, 800, "light"}, {"dark", 1280, 800, "dark"}, {"phone", 390, 844, "light"}, {"phone-dark", 390, 844, "dark"}}

// open shows a page on a screen.
func (b *browser) open(url string, s screen) {
	b.t.Helper()
	b.cdp("Emulation.setDeviceMetricsOverride", map[string]any{"width": s.width, "height": s.height, "deviceScaleFactor": 1, "mobile": s.width < 500})
	b.cdp("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": s.scheme}}})
	b.post("/url", map[string]string{"url": url}, nil)
}

// run evaluates a script in the page.
func (b *browser) run(script string, value any) {
	b.t.Helper()
	b.post("/execute/sync", map[string]any{"script": script, "args": []any{}}, value)
}

// console returns what the page complained of since it was asked last.
func (b *browser) console() []string {
	b.t.Helper()
	var entries []struct{ Level, Message string }
	b.post("/se/log", map[string]string{"type": "browser"}, &entries)
	var lines []string
	for _, e := range entries {
		lines = append(lines, e.Level+": "+e.Message)
	}
	return lines
}

// shoot leaves a picture of the whole page.
func (b *browser) shoot(name string) {
	b.t.Helper()
	var height int
	b.run("return Math.min(document.documentElement.scrollHeight, 6000)", &height)
	var shot struct{ Data string }
	b.post("/goog/cdp/execute", map[string]any{"cmd": "Page.captureScreenshot", "params": map[string]any{"captureBeyondViewport": true}}, &shot)
	picture, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil || len(picture) == 0 {
		b.t.Fatal("no screenshot", err)
	}
	if err := os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// faint finds text whose contrast to what is behind it is under 4.5, which WCAG
// 2.2 asks for at level AA, or which is smaller than 11 pixels.
const faint = `
const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
const light = ([r, g, b]) => { const f = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c; } return [255, 255, 255, 1]; };
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
  if (!text || e.closest('title, style') || e.classList.contains('on')) continue;
  const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg');
  const a = light(parse(svg ? style.fill : style.color)), b = light(behind(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const emoji = /^[\p{Extended_Pictographic}\uFE0F\s]+$/u.test(text);
  if ((ratio < 4.5 && !emoji) || parseFloat(style.fontSize) < 11) found.push(text.slice(0, 40) + ' ' + ratio.toFixed(1) + ' ' + style.fontSize);
}
return found;`

// serve offers pages over loopback as a report's folder would be.
func serve(t *testing.T, page func(name string) []byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page(strings.TrimPrefix(r.URL.Path, "/")))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

func TestBrowserReport(t *testing.T) {
	reports := situations()
	base := serve(t, func(name string) []byte {
		if reports[name] == nil {
			return nil
		}
		return written(t, HTML, reports[name])
	})
	b := newBrowser(t)
	for name, r := range reports {
		for _, s := range screens {
			b.open(base+name, s)
			what := name + " on " + s.name
			if lines := b.console(); len(lines) > 0 {
				t.Errorf("%s: console: %v", what, lines)
			}
			var tired []string
			if b.run(faint, &tired); len(tired) > 0 {
				t.Errorf("%s: hard to read: %q", what, tired)
			}
			var sideways bool
			if b.run("return document.documentElement.scrollWidth > innerWidth", &sideways); sideways {
				t.Errorf("%s: the page itself scrolls sideways", what)
			}
			var seen string
			if b.run(fold, &seen); !strings.Contains(seen, assess(r).word) || name != "hostile" && !strings.Contains(seen, string(r.SHA)) {
				t.Errorf("%s: above the fold stands %q", what, seen)
			}
			if name == "red" && !strings.Contains(seen, "Rejected commit "+newSHA) {
				t.Errorf("%s: the rejected commit is not above the fold: %q", what, seen)
			}
			b.shoot(name + "-" + s.name)
		}
	}
}

// fold returns the text of the banner that is seen without scrolling.
const fold = `return [...document.querySelectorAll('header p, header h1')].filter(e => e.getBoundingClientRect().bottom <= innerHeight).map(e => e.innerText).join('\n').replace(/\s+/g, ' ');`

// A page that is hostile must not run, load or send anything. (That no script
// came through is shown without a browser too.)
func TestBrowserHostileReport(t *testing.T) {
	asked := []string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			asked = append(asked, r.URL.Path)
		}
		text := `"><script>fetch('/script')</script><img src="/img"><style>@import '/style'</style><svg onload="fetch('/svg')">` + markdowntest.Hostile
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(written(t, HTML, hostile(text)))
	}))
	defer server.Close()
	b := newBrowser(t)
	b.open(server.URL, screens[0])
	var scripts int
	b.run("return document.scripts.length + document.images.length + document.querySelectorAll('iframe, object, embed, form').length", &scripts)
	if lines := b.console(); len(lines) > 0 || scripts > 0 || len(asked) > 0 {
		t.Errorf("console %v, %d active elements, asked for %v", lines, scripts, asked)
	}
}

func TestBrowserStepSummary(t *testing.T) {
	css := githubCSS(t)
	reports := situations()
	base := serve(t, func(name string) []byte {
		if reports[name] == nil {
			return nil
		}
		body := string(markdowntest.Render(t, Markdown(reports[name])))
		for _, kind := range []string{"CAUTION", "WARNING", "NOTE", "TIP"} { // GitHub makes a box of it
			before, alert, found := strings.Cut(body, "<blockquote>\n<p>[!"+kind+"]")
			if found {
				body = before + `<div class="markdown-alert markdown-alert-` + strings.ToLower(kind) + `"><p class="markdown-alert-title">` + kind + "</p><p>" +
					strings.Replace(alert, "</blockquote>", "</div>", 1)
			}
		}
		return fmt.Appendf(nil, `<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>%s .markdown-body{max-width:1010px;margin:0 auto;padding:24px}</style><body class="markdown-body"><article>%s</article>`, css, body)
	})
	b := newBrowser(t)
	for name, r := range reports {
		for _, s := range screens[:3] {
			b.open(base+name, s)
			var first string
			b.run("const h = document.querySelector('h2'); return h.getBoundingClientRect().bottom <= innerHeight ? h.innerText : ''", &first)
			if name != "hostile" && !strings.Contains(first, assess(r).word) {
				t.Errorf("%s on %s: above the fold stands %q", name, s.name, first)
			}
			if lines := b.console(); len(lines) > 0 && name != "hostile" {
				t.Errorf("%s on %s: console: %v", name, s.name, lines)
			}
			b.shoot("summary-" + name + "-" + s.name)
		}
	}
}

// githubCSS fetches the stylesheet with npm, from the registry that this
// machine's npm is set to.
func githubCSS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("npm", "pack", "--silent", cssPackage)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm pack: %v: %s", err, out)
	}
	archives, _ := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if len(archives) != 1 {
		t.Fatalf("npm left %v", archives)
	}
	file, err := os.Open(archives[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			t.Fatal("no github-markdown.css in the package")
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry.Name == "package/github-markdown.css" {
			css, err := io.ReadAll(entries)
			if err != nil {
				t.Fatal(err)
			}
			return string(css)
		}
	}
}

// JUnit XML is well-formed to another parser too (Debian's libxml2-utils).
func TestXMLLint(t *testing.T) {
	for name, r := range situations() {
		cmd := exec.Command("xmllint", "--noout", "--schema", filepath.Join("testdata", "junit.xsd"), "-")
		cmd.Stdin = bytes.NewReader(written(t, JUnit, r))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
