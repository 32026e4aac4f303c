package short

import (
	"testing"

	"strait.dev/tests/cluster/rig"
)

func TestOnlyTheOwnerExportsAService(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	c.Apply(t, rig.Service(ns, "svcb", 443))
	pod := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcb-0", Labels: rig.Mesh("svcb")})
	g := c.Strait(t, rig.Strait{Account: c.Account(t)})
	g.WaitReady(t)
	g.Refuses(t, mesh(ns, "svcb"), "unrecognized name")
	c.Apply(t, rig.Service(ns, "svcb", 443, rig.Exported))
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
	c.Apply(t, rig.Service(ns, "svcb", 443, `strait.dev/export: "false"`))
	g.Refuses(t, mesh(ns, "svcb"), "unrecognized name")
	// The API's own Service has a slice too, and no owner that opts in.
	g.Refuses(t, mesh("default", "kubernetes"), "unrecognized name")
}

func TestAServiceExportExportsItsService(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	c.Apply(t, rig.Service(ns, "svcb", 443))
	pod := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcb-0", Labels: rig.Mesh("svcb")})
	g := c.Strait(t, rig.Strait{Account: c.Account(t), Edit: edit(t, "opt_in: annotation", "opt_in: service_export")})
	g.WaitReady(t)
	g.Refuses(t, mesh(ns, "svcb"), "unrecognized name")
	export := serviceExport(ns, "svcb")
	c.Apply(t, export)
	g.Reaches(t, mesh(ns, "svcb"), pod.IP)
	g.Reaches(t, rig.Call{SNI: "svcb." + ns + ".svc.clusterset.local", ALPN: "istio"}, pod.IP)
	c.Delete(t, export)
	g.Refuses(t, mesh(ns, "svcb"), "unrecognized name")
}

func serviceExport(namespace, name string) string {
	return "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\nmetadata: { name: " + name + ", namespace: " + namespace + " }\n"
}
