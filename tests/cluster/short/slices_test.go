package short

import (
	"testing"

	"strait.dev/tests/cluster/rig"
)

func TestAnExportedServiceReachesItsPod(t *testing.T) {
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	c.Apply(t, rig.Service(ns, "svcb", 443, rig.Exported))
	pod := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcb-0", Labels: rig.Mesh("svcb")})
	g := c.Strait(t, rig.Strait{})
	g.WaitReady(t)
	g.Reaches(t, rig.Call{SNI: "svcb." + ns + ".svc.cluster.local", ALPN: "istio"}, pod.IP)
	g.Refuses(t, rig.Call{SNI: "svcc." + ns + ".svc.cluster.local", ALPN: "istio"}, "unrecognized name")
}
