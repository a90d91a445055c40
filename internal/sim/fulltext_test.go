package sim

import "testing"

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		text, query string
		want        bool
	}{
		{"probe-9dc0e5-5-f1fb", "9dc0e5-5-f1fb", false}, // the probe that was never found
		{"probe-qwertyuiopasdfgh", "probe-qwertyuiopasdfgh", true},
		{"probe-qwertyuiopasdfgh", "QWERTYUIOPASDFGH", true},
		{"qwertyuiopasdfghx", "qwertyuiopasdfgh", false}, // whole words only
		{"a probe of the canary", "canary probe", true},
		{"a probe of the canary", "probe elsewhere", false},
		{"a probe", "", false},
		{"a probe", "!?", false},
		{"", "probe", false},
	} {
		if matches(c.text, c.query) != c.want {
			t.Errorf("%q in %q: %t, want %t", c.query, c.text, !c.want, c.want)
		}
	}
}
