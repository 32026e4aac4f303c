package short

import (
	"testing"
	"time"

	"strait.dev/tests/cluster/rig"
)

// world is an exported Service with a pod and a gateway that reaches it.
func world(t *testing.T, as rig.Strait) (string, rig.Pod, *rig.Gateway) {
	t.Helper()
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	c.Apply(t, rig.Service(ns, "svcb", 443, rig.Exported))
	pod := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcb-0", Labels: rig.Mesh("svcb")})
	if as.Account == nil {
		as.Account = c.Account(t)
	}
	g := c.Strait(t, as)
	return ns, pod, g
}

// fresh makes another Service with a pod, after something failed.
func fresh(t *testing.T, ns string) rig.Pod {
	t.Helper()
	c := rig.Get()
	c.Apply(t, rig.Service(ns, "fresh", 443, rig.Exported))
	return c.Pod(t, rig.Pod{Namespace: ns, Name: "fresh-0", Labels: rig.Mesh("fresh")})
}

// up is the number of kinds that are watched, stale that of kinds known only as they were.
func up(g *rig.Gateway) float64    { return g.Metric("strait_kubernetes_watch_up") }
func stale(g *rig.Gateway) float64 { return g.Metric("strait_kubernetes_stale") }

// noticed is longer than strait takes to notice that the API is silent, on a busy machine.
const noticed = 3 * time.Minute

func TestACableToTheAPIThatIsPulledIsNoticed(t *testing.T) {
	t.Parallel()
	link := rig.Get().Uplink(t)
	ns, pod, g := world(t, rig.Strait{APIHost: link.Host})
	g.WaitReady(t)
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
	kinds := g.WaitWatched(t)
	calls := g.Background(mesh(ns, "svcb"), 100*time.Millisecond)
	link.Pull(t)
	later := fresh(t, ns)
	rig.Eventually(t, "all kinds are stale", noticed, func() bool { return up(g) == 0 && stale(g) == kinds })
	if ready, body := g.Ready(); !ready {
		t.Errorf("it is not ready any more: %s", body)
	}
	link.Plug(t)
	rig.Eventually(t, "all kinds are watched again", noticed, func() bool { return up(g) == kinds && stale(g) == 0 })
	g.Reaches(t, mesh(ns, "fresh"), later.IP)
	calls.AllSucceed(t)
}

func TestAListThatStallsKeepsTheGatewayFromReadiness(t *testing.T) {
	t.Parallel()
	link := rig.Get().Uplink(t)
	// After the TLS handshake, in the middle of the first answers.
	link.StallAfter(8 << 10)
	ns, pod, g := world(t, rig.Strait{APIHost: link.Host})
	rig.Eventually(t, "a request that got no whole answer is counted as timeout", noticed, func() bool {
		return g.Metric("strait_kubernetes_errors_total", `reason="timeout"`) > 0
	})
	if ready, body := g.Ready(); ready {
		t.Errorf("it is ready: %s", body)
	}
	if link.Stalled() == 0 {
		t.Error("no connection was stalled")
	}
	link.StallAfter(0)
	rig.Eventually(t, "it is ready", noticed, func() bool { ready, _ := g.Ready(); return ready })
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
}

func TestAnAPIServerThatIsStoppedAndKilledIsNoticed(t *testing.T) {
	t.Parallel()
	server, host := rig.Get().SecondAPIServer(t)
	ns, pod, g := world(t, rig.Strait{APIHost: host})
	g.WaitReady(t)
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
	kinds := g.WaitWatched(t)
	calls := g.Background(mesh(ns, "svcb"), 100*time.Millisecond)

	server.Pause(t)
	rig.Eventually(t, "all kinds are stale while the API server is stopped", noticed, func() bool { return up(g) == 0 && stale(g) == kinds })
	server.Resume(t)
	rig.Eventually(t, "all kinds are watched again", noticed, func() bool { return up(g) == kinds && stale(g) == 0 })

	server.Kill(t)
	rig.Eventually(t, "all kinds are stale after the kill", noticed, func() bool { return up(g) == 0 && stale(g) == kinds })
	later := fresh(t, ns)
	if ready, body := g.Ready(); !ready {
		t.Errorf("it is not ready any more: %s", body)
	}
	server.Start(t)
	rig.Eventually(t, "all kinds are watched again after the start", noticed, func() bool { return up(g) == kinds && stale(g) == 0 })
	g.Reaches(t, mesh(ns, "fresh"), later.IP)
	calls.AllSucceed(t)
}

func TestATokenThatReplacesARefusedOneIsUsed(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	account := c.Account(t)
	ns, pod, g := world(t, rig.Strait{Account: account})
	g.WaitReady(t)
	// The slice of the pod may come after the gateway is ready.
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
	kinds := g.WaitWatched(t)
	calls := g.Background(mesh(ns, "svcb"), 100*time.Millisecond)
	// The token of an account that is deleted and made again is of the old one.
	c.Delete(t, account.YAML())
	c.Apply(t, account.YAML())
	rig.Eventually(t, "the API refuses the old token", noticed, func() bool {
		return g.Metric("strait_kubernetes_errors_total", `reason="forbidden"`) >= kinds
	})
	later := fresh(t, ns)
	account.Renew(t)
	rig.Eventually(t, "all kinds are watched with the new token", noticed, func() bool { return up(g) == kinds && stale(g) == 0 })
	g.Reaches(t, mesh(ns, "fresh"), later.IP)
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
	calls.AllSucceed(t)
}
