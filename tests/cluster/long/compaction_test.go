package long

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"strait.dev/tests/cluster/rig"
)

var compactions = flag.Int("compactions", 3, "how often etcd forgets the versions that watches have seen")

// Without the watch cache each watch goes to etcd, which refuses a version that it has forgotten: 410 Gone.
func TestVersionsThatEtcdForgetsCostNoConnection(t *testing.T) {
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	server, host := c.SecondAPIServer(t, "--watch-cache=false")
	account := c.Account(t)
	c.Apply(t, account.GatewayClass(), rig.TLSGateway(account, "east-west", 15443, ns+".beta.example"), rig.Service(ns, "svcc", 443),
		rig.TLSRoute(ns, "svcc", account.Namespace+"/east-west", ns+".beta.example", "svcc"))
	routed := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcc-0", Labels: map[string]string{"app": "svcc"}})
	stays := served(t, ns, "svcb")
	g := c.Strait(t, rig.Strait{Account: account, APIHost: host})
	g.WaitReady(t)
	g.Reaches(t, mesh(ns, "svcb"), stays.IP)
	route := rig.Call{SNI: ns + ".beta.example", ALPN: "h2"}
	g.Reaches(t, route, routed.IP)
	kinds := g.WaitWatched(t)

	callers := []*rig.Caller{g.Background(mesh(ns, "svcb"), 50*time.Millisecond), g.Background(route, 50*time.Millisecond)}
	looks := watchOver(g)
	for n := range *compactions {
		gone, began := errors(g, "gone"), time.Now()
		// The version grows by changes that no kind of strait's sees, so that every watch is behind it.
		for tick := range 3 {
			c.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: tick, namespace: %s }\ndata: { n: \"%d.%d\" }\n", ns, n, tick))
		}
		revision := c.Compact(t)
		// A kind whose object changed a moment ago, by strait's own status or by the test, is not behind.
		rig.Eventually(t, "the watches begin at a version that is gone", 3*time.Minute, func() bool { return errors(g, "gone") >= gone+kinds-4 })
		all := time.Since(began)
		name := fmt.Sprintf("fresh-%d", n)
		pod := served(t, ns, name)
		made := time.Now()
		g.Reaches(t, mesh(ns, name), pod.IP)
		reached := time.Since(made)
		c.Delete(t, rig.Service(ns, name, 443))
		g.Refuses(t, mesh(ns, name), "")
		t.Logf("compacted at revision %s: %.0f answers 410 within %.1f s; then a new Service is reached after %.2f s",
			revision, errors(g, "gone")-gone, all.Seconds(), reached.Seconds())
	}
	rig.Eventually(t, "every kind is watched", time.Minute, func() bool { return up(g) == kinds && stale(g) == 0 })
	looks.Stop(t, true)
	t.Logf("%d compactions, %.0f kinds, %.0f answers 410", *compactions, kinds, errors(g, "gone"))

	// After an outage no watch can say what changed before the compaction: only a new list does.
	moved := c.Pod(t, rig.Pod{Namespace: ns, Name: "moves-0", Labels: rig.Mesh("moves")})
	c.Apply(t, rig.Service(ns, "moves", 443, rig.Exported))
	goes := served(t, ns, "goes")
	g.Reaches(t, mesh(ns, "moves"), moved.IP)
	g.Reaches(t, mesh(ns, "goes"), goes.IP)
	server.Kill(t)
	rig.Eventually(t, "the kill is noticed", 3*time.Minute, func() bool { return up(g) == 0 && stale(g) == kinds })
	gone := errors(g, "gone")
	c.EndPod(t, moved)
	second := c.Pod(t, rig.Pod{Namespace: ns, Name: "moves-1", Labels: rig.Mesh("moves")})
	c.Delete(t, rig.Service(ns, "goes", 443))
	comes := served(t, ns, "comes")
	// The slices of all that must be older than the compaction.
	rig.Eventually(t, "the slice controller follows", time.Minute, func() bool {
		return c.HasEndpoint(t, ns, "comes", comes.IP) && c.HasEndpoint(t, ns, "moves", second.IP)
	})
	c.Compact(t)
	server.Start(t)
	back := time.Now()
	g.Reaches(t, mesh(ns, "comes"), comes.IP)
	g.Reaches(t, mesh(ns, "moves"), second.IP)
	g.Refuses(t, mesh(ns, "goes"), "")
	rig.Eventually(t, "every kind is watched again", 3*time.Minute, func() bool { return up(g) == kinds && stale(g) == 0 })
	t.Logf("an outage with a compaction: all kinds are watched %.1f s after /readyz, with %.0f answers 410", time.Since(back).Seconds(), errors(g, "gone")-gone)
	for _, caller := range callers {
		t.Logf("%d calls", caller.Count())
		caller.AllSucceed(t)
	}
}
