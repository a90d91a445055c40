package sim

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestWorld(t *testing.T) {
	reg, err := StartRegistry(RegistryConfig{Referrers: true, Auth: TokenAuth, Accounts: []Account{{Username: "u", Password: "p"}}, CheckBlobs: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	sha := strings.Repeat("a1", 20)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	d, err := Publish(ctx, reg.Host(), Build{SHA: sha, Images: []string{"org/a", "org/b"}, Tag: "latest", Index: true, Created: time.Unix(1e9, 0)}, reg.Remote()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(d)
	for _, r := range reg.Requests() {
		t.Log(r.Status, r.Nth, r.Key)
	}
	tn, err := StartTenant(TenantConfig{TLS: true, Follow: &Follow{Image: reg.Host() + "/org/a", Tag: "latest", Remote: reg.Remote(), Interval: 10 * time.Millisecond, Restart: 10 * time.Millisecond, Down: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer tn.Close()
	get := func() {
		c := &http.Client{Transport: Transport()}
		resp, err := c.Get(tn.URL() + "/buildinfo")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		t.Log(resp.Proto, string(b))
	}
	get()
	sha2 := strings.Repeat("b2", 20)
	if _, err := Publish(ctx, reg.Host(), Build{SHA: sha2, Images: []string{"org/a", "org/b"}, Tag: "latest", Docker: true, Faults: []Fault{FailOpen}}, reg.Remote()...); err != nil {
		t.Fatal(err)
	}
	if err := tn.WaitFor(ctx, sha2); err != nil {
		t.Fatal(err)
	}
	get()
}
