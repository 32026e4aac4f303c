package short

import (
	"strings"
	"testing"

	"strait.dev/tests/cluster/rig"
)

func TestConnectionsFollowWhatTheEndpointSliceControllerWrites(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	c.Apply(t, rig.Service(ns, "svcb", 443, rig.Exported))
	a := c.Pod(t, rig.Pod{Namespace: ns, Name: "a", Labels: rig.Mesh("svcb"), Grace: wait})
	b := c.Pod(t, rig.Pod{Namespace: ns, Name: "b", Labels: rig.Mesh("svcb"), NotReady: true, Grace: wait})
	g := c.Strait(t, rig.Strait{Account: c.Account(t)})
	g.WaitReady(t)

	g.Reaches(t, mesh(ns, "svcb"), a.IP)
	g.Reaches(t, rig.Call{SNI: "outbound_.443_._." + host(ns, "svcb"), ALPN: "istio"}, a.IP)
	g.Refuses(t, rig.Call{SNI: host(ns, "svcb"), ALPN: "h2"}, "")
	g.Refuses(t, mesh(ns, "svcc"), "unrecognized name")

	c.SetReady(t, b, true)
	g.Reaches(t, mesh(ns, "svcb"), b.IP)
	c.SetReady(t, a, false)
	only(t, g, mesh(ns, "svcb"), b.IP)
	c.SetReady(t, a, true)
	g.Reaches(t, mesh(ns, "svcb"), a.IP)
	// Terminating: in the slice still, but not ready.
	c.DeletePod(t, a)
	only(t, g, mesh(ns, "svcb"), b.IP)
	c.EndPod(t, a)
	// Terminating, but nothing else is left.
	c.DeletePod(t, b)
	rig.Eventually(t, "the slice says that b terminates", wait, func() bool { return g.Metric("strait_upstream_endpoints", `state="terminating"`) == 1 })
	only(t, g, mesh(ns, "svcb"), b.IP)
	// Moved: the pod of the same name is at another address.
	c.EndPod(t, b)
	moved := c.Pod(t, rig.Pod{Namespace: ns, Name: "b", Labels: rig.Mesh("svcb")})
	only(t, g, mesh(ns, "svcb"), moved.IP)
	c.EndPod(t, moved)
	g.Refuses(t, mesh(ns, "svcb"), "")
}

// only waits until twenty calls in a row end at one pod.
func only(t *testing.T, g *rig.Gateway, call rig.Call, address string) {
	t.Helper()
	rig.Eventually(t, "only "+address+" gets connections", wait, func() bool {
		for range 20 {
			if answer, err := g.Call(call); err != nil || answer.IP != address {
				return false
			}
		}
		return true
	})
}

func TestAPodOutsideOfTheMeshGetsNoIstioConnection(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	c.Apply(t, rig.Service(ns, "plain", 443, rig.Exported))
	pod := rig.Pod{Namespace: ns, Name: "plain-0", Labels: map[string]string{"app": "plain"}}
	c.Pod(t, pod)
	g := c.Strait(t, rig.Strait{Account: c.Account(t)})
	g.WaitReady(t)
	g.Refuses(t, mesh(ns, "plain"), "")
	// The line comes a moment after the close.
	rig.Eventually(t, "the access log says no_endpoint", wait, func() bool {
		return strings.Contains(g.AccessLog(), "no_endpoint")
	})
}
