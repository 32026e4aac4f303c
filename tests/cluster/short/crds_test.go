package short

import (
	"slices"
	"testing"
	"time"

	"strait.dev/tests/cluster/rig"
)

func TestCRDsThatGoAndComeCostNoConnection(t *testing.T) {
	c := rig.Get()
	ns, pod, g := world(t, rig.Strait{})
	g.WaitReady(t)
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
	kinds := g.WaitWatched(t)
	calls := g.Background(mesh(ns, "svcb"), 50*time.Millisecond)
	gone := slices.Concat(rig.IstioCRDs, []string{"tlsroutes.gateway.networking.k8s.io"})
	t.Cleanup(func() { c.InstallCRDs(t, gone...) })
	c.DeleteCRDs(t, gone...)
	rig.Eventually(t, "the kinds are not watched, and not stale either, since they were uninstalled", wait, func() bool {
		return up(g) == kinds-float64(len(gone)) && stale(g) == 0
	})
	if ready, body := g.Ready(); !ready {
		t.Errorf("it is not ready any more: %s", body)
	}
	c.InstallCRDs(t, gone...)
	rig.Eventually(t, "all kinds are watched again", wait, func() bool { return up(g) == kinds && stale(g) == 0 })
	calls.AllSucceed(t)
	off := `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: disabled, namespace: ` + ns + ` }
spec: { mtls: { mode: DISABLE } }
`
	c.Apply(t, off)
	g.Refuses(t, mesh(ns, "svcb"), "")
	c.Delete(t, off)
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
}
