package short

import (
	"fmt"
	"testing"

	"strait.dev/tests/cluster/rig"
)

// The API takes each of these objects. None of them may keep others from being served, by a gateway that runs and by one that starts.
func TestOddObjectsAffectOnlyThemselves(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	ns := c.Namespace(t, "odd", nil)
	c.Apply(t, rig.Service(ns, "svcb", 443, rig.Exported))
	pod := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcb-0", Labels: rig.Mesh("svcb")})
	account := c.Account(t)
	running := c.Strait(t, rig.Strait{Account: account})
	running.WaitReady(t)

	for name, port := range map[string]int{"negative": -1, "large": 70000, "zero": 0} {
		c.Apply(t, slice(ns, name, name, "10.98.3.1", port, "ready: true"))
	}
	c.Apply(t, fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: names, namespace: %[1]s, labels: { kubernetes.io/service-name: names } }
addressType: FQDN
ports: [{ name: https, protocol: TCP, port: 443 }]
endpoints: [{ addresses: [elsewhere.example] }]
---
apiVersion: v1
kind: Service
metadata: { name: names, namespace: %[1]s, annotations: { %[2]s } }
spec: { ports: [{ name: https, port: 443 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: portless, namespace: %[1]s, labels: { kubernetes.io/service-name: svcb } }
addressType: IPv4
endpoints: [{ addresses: [10.98.3.2] }]
---
apiVersion: v1
kind: Service
metadata: { name: elsewhere, namespace: %[1]s, annotations: { %[2]s } }
spec: { type: ExternalName, externalName: elsewhere.example }
---
apiVersion: v1
kind: Service
metadata: { name: udp, namespace: %[1]s, annotations: { %[2]s } }
spec: { selector: { app: svcb }, ports: [{ name: dns, port: 53, protocol: UDP }] }
`, ns, rig.Exported))

	starting := c.Strait(t, rig.Strait{Account: account})
	starting.WaitReady(t)
	c.Apply(t, rig.Service(ns, "later", 443, rig.Exported))
	later := c.Pod(t, rig.Pod{Namespace: ns, Name: "later-0", Labels: rig.Mesh("later")})
	for _, g := range []*rig.Gateway{running, starting} {
		g.Reaches(t, mesh(ns, "later"), later.IP)
		only(t, g, mesh(ns, "svcb"), pod.IP)
		unreadable := 0.0
		if !rig.Within(wait, func() bool {
			unreadable = g.Metric("strait_kubernetes_unreadable_objects", `kind="endpoint_slice"`)
			return unreadable == 2
		}) {
			t.Errorf("%v slices are counted as unreadable, not 2", unreadable)
		}
		g.WaitWatched(t)
		g.Refuses(t, mesh(ns, "names"), "")
		g.Refuses(t, mesh(ns, "elsewhere"), "unrecognized name")
		g.Refuses(t, mesh(ns, "udp"), "unrecognized name")
	}
}

func TestAHeadlessServiceReachesItsPods(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	ns := c.Namespace(t, "headless", nil)
	c.Apply(t, fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: { name: db, namespace: %s, annotations: { %s } }
spec: { clusterIP: None, selector: { app: db }, ports: [{ name: https, port: %d }] }
`, ns, rig.Exported, rig.EchoPort))
	pod := func(n int) rig.Pod {
		name := fmt.Sprintf("db-%d", n)
		return c.Pod(t, rig.Pod{Namespace: ns, Name: name, Labels: rig.Mesh("db"), Hostname: name, Subdomain: "db"})
	}
	call := func(name string) rig.Call { return rig.Call{SNI: name + "." + host(ns, "db"), ALPN: "istio"} }
	pods := []rig.Pod{pod(0), pod(1)}
	g := c.Strait(t, rig.Strait{Account: c.Account(t)})
	g.WaitReady(t)
	g.Reaches(t, mesh(ns, "db"), pods[0].IP, pods[1].IP)
	g.Refuses(t, call("db-2"), "")
	pods = append(pods, pod(2))
	for n, it := range pods {
		name := fmt.Sprintf("db-%d", n)
		g.Reaches(t, call(name), it.IP)
		g.Reaches(t, call(fmt.Sprintf("outbound_.%d_._.%s", rig.EchoPort, name)), it.IP)
	}
	g.Refuses(t, call("db-3"), "")
}

func TestAPodOfBothFamiliesIsReachedByEither(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	ns := c.Namespace(t, "dual", nil)
	for name, policy := range map[string]string{
		"both": "ipFamilyPolicy: RequireDualStack", "six": "ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]",
	} {
		c.Apply(t, fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: { name: %s, namespace: %s, annotations: { %s } }
spec: { %s, selector: { app: dual }, ports: [{ name: https, port: 443, targetPort: %d }] }
`, name, ns, rig.Exported, policy, rig.EchoPort))
	}
	pod := rig.Pod{Namespace: ns, Name: "dual-0", Labels: rig.Mesh("dual"), IP: rig.PodIP(60000)}
	pod.IP6 = rig.PodIP6(pod.IP)
	c.Pod(t, pod)
	g := c.Strait(t, rig.Strait{Account: c.Account(t)})
	g.WaitReady(t)
	g.Reaches(t, mesh(ns, "both"), pod.IP, pod.IP6)
	g.Reaches(t, mesh(ns, "six"), pod.IP6)
}
