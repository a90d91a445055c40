package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
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
