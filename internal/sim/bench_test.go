package sim

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkTenant is one whole answer of a healthy tenant without a network:
// what the simulator itself costs a benchmark of the gate.
func BenchmarkTenant(b *testing.B) {
	t := newTenant(TenantConfig{SHA: shaA, NoLog: true})
	for _, path := range []string{"/buildinfo", "/admin/liveness", "/memories/search?query=probe-qwertyuiopasdfgh"} {
		b.Run(strings.NewReplacer("/", "_", "?", "_").Replace(path[1:]), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequest(http.MethodGet, path, http.NoBody)
				r.Header = http.Header{"Authorization": {"Bearer " + t.Token()}, orgHeader: {t.OrgID()}}
				t.ServeHTTP(&recorder{header: http.Header{}}, r)
			}
		})
	}
}

// BenchmarkFleetWaiting holds requests of a thousand tenants at the same time,
// 6 for each, over one connection a request: an operation is all 6,000 of them
// at 50 ms an answer.
func BenchmarkFleetWaiting(b *testing.B) {
	const tenants, each = 1000, 6
	f, err := StartFleet(tenants, FleetConfig{SHA: shaA, Latency: 50 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	conns := make([]net.Conn, tenants*each)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", f.server.host()); err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
	}
	b.ReportAllocs()
	for b.Loop() {
		var wg sync.WaitGroup
		for i, c := range conns {
			wg.Go(func() {
				_, err := fmt.Fprintf(c, "GET /t/canary-%04d/health HTTP/1.1\r\nHost: sim\r\n\r\n", i%tenants+1)
				if err == nil {
					_, err = c.Read(make([]byte, 512))
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
}
