package summary

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// formats are all renderings that are kept as files.
var formats = map[string]func(*testing.T, *report.Report) []byte{
	"md":   func(_ *testing.T, r *report.Report) []byte { return []byte(Markdown(r)) },
	"txt":  func(_ *testing.T, r *report.Report) []byte { return []byte(Text(r, false, 0)) },
	"xml":  func(t *testing.T, r *report.Report) []byte { return written(t, JUnit, r) },
	"html": func(t *testing.T, r *report.Report) []byte { return written(t, HTML, r) },
	"json": func(t *testing.T, r *report.Report) []byte {
		return written(t, JSON, r)
	},
}

func TestGolden(t *testing.T) {
	for name, r := range situations() {
		for ext, render := range formats {
			t.Run(name+"."+ext, func(t *testing.T) {
				got := render(t, r)
				if again := render(t, r); !bytes.Equal(got, again) {
					t.Fatal("the same report gave other bytes")
				}
				golden(t, name+"."+ext, got)
			})
		}
	}
}

// golden compares with a file of testdata, or writes it under -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./summary -update writes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the golden file; go test ./summary -update rewrites it. Got:\n%s", path, got)
	}
}

func written(t testing.TB, write func(io.Writer, *report.Report) error, r *report.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
