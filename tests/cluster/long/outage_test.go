package long

import (
	"flag"
	"testing"
	"time"

	"strait.dev/tests/cluster/rig"
)

var (
	outage    = flag.Duration("outage", time.Hour, "the time without an API server")
	callPause = flag.Duration("call-pause", 250*time.Millisecond, "the time between two calls of each of two callers")
)

func TestTrafficOutlivesAnOutageOfTheAPI(t *testing.T) {
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	account := c.ManifestsAccount(t)
	c.Apply(t, rig.Service(ns, "svcb", 443, rig.Exported), rig.Service(ns, "svcc", 443),
		account.GatewayClass(), rig.TLSGateway(account, "east-west", 15443, "*.beta.example"),
		rig.TLSRoute(ns, "svcc", "strait/east-west", "svcc.beta.example", "svcc"))
	svcb := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcb-0", Labels: rig.Mesh("svcb")})
	svcc := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcc-0", Labels: map[string]string{"app": "svcc"}})
	g := c.Strait(t, rig.Strait{Account: account})
	g.WaitReady(t)
	meshed := mesh(ns, "svcb")
	routed := rig.Call{SNI: "svcc.beta.example", ALPN: "h2"}
	g.Reaches(t, meshed, svcb.IP)
	g.Reaches(t, routed, svcc.IP)
	kinds := g.Metric("strait_kubernetes_watch_up")

	cpu := g.CPU()
	before, _ := g.RSS()
	callers := []*rig.Caller{g.Background(meshed, *callPause), g.Background(routed, *callPause)}
	c.APIServer.Kill(t)
	killed := time.Now()
	rig.Eventually(t, "the watches are known to be down", time.Minute, func() bool {
		return g.Metric("strait_kubernetes_watch_up") == 0 && g.Metric("strait_kubernetes_stale") == kinds
	})
	t.Logf("%.0f kinds are known as stale %.1f s after the kill", kinds, time.Since(killed).Seconds())
	notReady := 0
	for time.Since(killed) < *outage {
		time.Sleep(min(5*time.Second, *outage))
		if ready, _ := g.Ready(); !ready {
			notReady++
		}
	}
	after, peak := g.RSS()
	t.Logf("%v without API: %d and %d calls, CPU %v, RSS %d KiB, then %d, peak %d; errors %.0f; not ready at %d looks",
		*outage, callers[0].Count(), callers[1].Count(), g.CPU()-cpu, before>>10, after>>10, peak>>10,
		g.Metric("strait_kubernetes_errors_total"), notReady)
	if notReady > 0 {
		t.Error("it was not ready in the outage")
	}

	cpu = g.CPU()
	c.APIServer.Start(t)
	back := time.Now()
	c.Apply(t, rig.Service(ns, "fresh", 443, rig.Exported))
	fresh := c.Pod(t, rig.Pod{Namespace: ns, Name: "fresh-0", Labels: rig.Mesh("fresh")})
	rig.Eventually(t, "all kinds are watched again", 5*time.Minute, func() bool {
		return g.Metric("strait_kubernetes_watch_up") == kinds && g.Metric("strait_kubernetes_stale") == 0
	})
	t.Logf("all kinds are watched %.1f s after /readyz of the new API server, for %v of CPU", time.Since(back).Seconds(), g.CPU()-cpu)
	rig.Eventually(t, "a Service made after the outage is routed", 2*time.Minute, func() bool {
		answer, err := g.Call(mesh(ns, "fresh"))
		return err == nil && answer.IP == fresh.IP
	})
	t.Logf("a Service made after the outage is routed %.1f s after /readyz", time.Since(back).Seconds())
	for _, caller := range callers {
		caller.AllSucceed(t)
	}
}
