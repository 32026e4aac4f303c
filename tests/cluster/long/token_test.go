package long

import (
	"flag"
	"testing"
	"time"

	"strait.dev/tests/cluster/rig"
)

var (
	tokens    = flag.Int("tokens", 8, "tokens, each replaced in the middle of its life")
	tokenLife = flag.Duration("token-life", 90*time.Second, "the life of a token; the API takes it for a minute longer")
)

func TestTokensThatRunOutCostNoConnection(t *testing.T) {
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	account := c.Account(t)
	account.RenewFor(t, *tokenLife)
	pod := served(t, ns, "svcb")
	g := c.Strait(t, rig.Strait{Account: account})
	g.WaitReady(t)
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
	kinds := g.WaitWatched(t)
	calls := g.Background(mesh(ns, "svcb"), 50*time.Millisecond)

	looks, began := watchOver(g), time.Now()
	for range *tokens {
		time.Sleep(*tokenLife / 2)
		account.RenewFor(t, *tokenLife)
	}
	looks.Stop(t, true)
	refused := errors(g, "forbidden")
	t.Logf("%d tokens of %v in %.0f s: %.0f requests refused, CPU %v", *tokens, *tokenLife, time.Since(began).Seconds(), refused, g.CPU())
	if refused > 0 {
		t.Errorf("%.0f requests were refused although a valid token was in the file", refused)
	}

	// Nobody renews the last one.
	looks, began = watchOver(g), time.Now()
	rig.Eventually(t, "the last token is refused for every kind", *tokenLife+5*time.Minute, func() bool {
		return errors(g, "forbidden") >= kinds && up(g) == 0
	})
	t.Logf("no token for %.0f s: all %.0f kinds are refused", time.Since(began).Seconds(), kinds)
	fresh := served(t, ns, "fresh")
	time.Sleep(2 * time.Minute)
	account.RenewFor(t, *tokenLife)
	renewed := time.Now()
	rig.Eventually(t, "all kinds are watched with the new token", 2*time.Minute, func() bool { return up(g) == kinds && stale(g) == 0 })
	watched := time.Since(renewed)
	g.Reaches(t, mesh(ns, "fresh"), fresh.IP)
	t.Logf("all kinds are watched %.1f s after a new token lies in the file", watched.Seconds())
	looks.Stop(t, false)
	t.Logf("%d calls", calls.Count())
	calls.AllSucceed(t)
}
