package main

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestNoticedWithinAnInterval: a tenant that turns current is noticed within one
// interval and an answer, and a fleet isn't asked in lockstep.
func TestNoticedWithinAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tenants, interval = 500, 2 * time.Second
		delays, _, peak, err := notice(t.Context(), tenants, 30*time.Second, interval)
		if err != nil {
			t.Fatal(err)
		}
		if longest := delays.quantile(1); longest > interval+answerTime {
			t.Errorf("a tenant was noticed only after %v, want at most %v", longest, interval+answerTime)
		}
		if peak > tenants/4 {
			t.Errorf("%d of %d tenants were asked in the same %v: in lockstep", peak, tenants, slot)
		}
	})
}
