package long

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"strait.dev/tests/cluster/rig"
)

var (
	services  = flag.Int("services", 7000, "Services with a ClusterIP, each with a slice made by hand")
	headless  = flag.Int("headless", 25000, "headless Services beside them, without selector")
	perOne    = flag.Int("pods", 5, "pods of each Service with a ClusterIP")
	changes   = flag.Int("changes", 200, "Services that are made, moved and deleted one after another for the figures")
	startWait = flag.Duration("start-wait", 10*time.Minute, "the longest time until ready")
)

const namespaces = 20

// store makes n objects and writes them into etcd: through the API, each would cost two requests, a Service a search for an address, and a
// slice the controller's turn.
func store(t *testing.T, what string, n int, of func(int) rig.Stored) {
	t.Helper()
	begin := time.Now()
	var objects []rig.Stored
	for i := range n {
		objects = append(objects, of(i))
	}
	if err := rig.Get().Store(objects); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d %s in %.0f s", n, what, time.Since(begin).Seconds())
}

func TestStartAmongManyServices(t *testing.T) {
	c := rig.Get()
	var names []string
	for range namespaces {
		names = append(names, c.Namespace(t, "load", nil))
	}
	of := func(i int) string { return names[i%namespaces] }
	exported := map[string]string{"strait.dev/export": "true"}
	ports := []core.ServicePort{{Name: "https", Protocol: core.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(rig.EchoPort)}}
	families, single := []core.IPFamily{core.IPv4Protocol}, core.IPFamilyPolicySingleStack
	service := func(namespace, name, address string) rig.Stored {
		return rig.StoredService(core.Service{
			ObjectMeta: meta.ObjectMeta{Name: name, Namespace: namespace, Annotations: exported},
			Spec: core.ServiceSpec{Type: core.ServiceTypeClusterIP, ClusterIPs: []string{address}, Ports: ports,
				IPFamilies: families, IPFamilyPolicy: &single, SessionAffinity: core.ServiceAffinityNone},
		})
	}
	ips := make([]string, *services**perOne)
	store(t, "pods", len(ips), func(i int) rig.Stored {
		app := fmt.Sprintf("svc-%d", i / *perOne)
		ips[i] = c.NextPodIP()
		return rig.StoredPod(rig.Pod{Namespace: of(i / *perOne), Name: fmt.Sprintf("%s-%d", app, i%*perOne), Labels: rig.Mesh(app),
			Node: fmt.Sprintf("node-%d", i%3), IP: ips[i]})
	})
	store(t, "headless Services", *headless, func(i int) rig.Stored {
		return service(of(i), fmt.Sprintf("headless-%d", i), "None")
	})
	store(t, "Services with a ClusterIP", *services, func(i int) rig.Stored {
		return service(of(i), fmt.Sprintf("svc-%d", i), fmt.Sprintf("10.97.%d.%d", 16+i/250, 1+i%250))
	})
	store(t, "slices", *services, func(i int) rig.Stored {
		name := fmt.Sprintf("svc-%d", i)
		return rig.StoredSlice(of(i), name, ips[i**perOne:(i+1)**perOne])
	})
	tellMemory(t, c)

	g := c.Strait(t, rig.Strait{})
	begin := time.Now()
	rig.Eventually(t, "it is ready", *startWait, func() bool { ready, _ := g.Ready(); return ready })
	took, cpu := time.Since(begin), g.CPU()
	rss, peak := g.RSS()
	t.Logf("ready %.1f s after the start, CPU %v, RSS %d MiB, peak %d MiB; %.0f Services, %.0f slices, %.0f pods", took.Seconds(), cpu, rss>>20, peak>>20,
		g.Metric("strait_kubernetes_objects", `kind="service"`), g.Metric("strait_kubernetes_objects", `kind="endpoint_slice"`),
		g.Metric("strait_kubernetes_objects", `kind="pod"`))

	made, moved, gone := change(t, c, g, names)
	for what, times := range map[string][]time.Duration{"a new Service": made, "a moved endpoint": moved, "a deleted Service": gone} {
		slices.Sort(times)
		if len(times) > 0 {
			t.Logf("%s: from the API's answer to the first call that shows it, %d times: p50 %v, p99 %v", what, len(times),
				times[len(times)/2].Round(time.Millisecond), times[len(times)*99/100].Round(time.Millisecond))
		}
	}
	rss, peak = g.RSS()
	t.Logf("RSS %d MiB, peak %d MiB after the changes", rss>>20, peak>>20)
}

// tellMemory logs the memory of the control plane.
func tellMemory(t *testing.T, c *rig.Cluster) {
	t.Helper()
	for _, of := range []*rig.Process{c.Etcd, c.APIServer, c.ControllerManager} {
		now, _ := of.RSS()
		t.Logf("%s: RSS %d MiB", of.Name, now>>20)
	}
}

// change makes Services with a slice by hand, moves the address, deletes them, and times how long calls take to follow.
func change(t *testing.T, c *rig.Cluster, g *rig.Gateway, names []string) (made, moved, gone []time.Duration) {
	t.Helper()
	for n := range *changes {
		namespace, name := names[n%namespaces], fmt.Sprintf("probe-%d", n)
		pods := []rig.Pod{
			c.Pod(t, rig.Pod{Namespace: namespace, Name: name + "-0", Labels: rig.Mesh(name)}),
			c.Pod(t, rig.Pod{Namespace: namespace, Name: name + "-1", Labels: rig.Mesh(name)}),
		}
		slice := func(pod rig.Pod) string {
			return fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: %[2]s, namespace: %[1]s, labels: { kubernetes.io/service-name: %[2]s } }
addressType: IPv4
ports: [{ name: https, protocol: TCP, port: %[5]d }]
endpoints: [{ addresses: [%[3]s], conditions: { ready: true }, targetRef: { kind: Pod, name: %[4]s, namespace: %[1]s } }]
`, namespace, name, pod.IP, pod.Name, rig.EchoPort)
		}
		service := fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: { name: %s, namespace: %s, annotations: { %s } }\nspec: { ports: [{ name: https, port: 443 }] }\n",
			name, namespace, rig.Exported)
		call := rig.Call{SNI: name + "." + namespace + ".svc.cluster.local", ALPN: "istio"}
		c.Apply(t, service, slice(pods[0]))
		made = append(made, until(t, g, call, pods[0].IP))
		c.Apply(t, slice(pods[1]))
		moved = append(moved, until(t, g, call, pods[1].IP))
		c.Delete(t, service)
		gone = append(gone, until(t, g, call, ""))
	}
	return made, moved, gone
}

// until calls again and again until the call ends at the address, or is refused if there is none.
func until(t *testing.T, g *rig.Gateway, call rig.Call, address string) time.Duration {
	t.Helper()
	begin := time.Now()
	for time.Since(begin) < time.Minute {
		answer, err := g.Call(call)
		if address == "" && err != nil || address != "" && err == nil && answer.IP == address {
			return time.Since(begin)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%+v does not show %q within a minute", call, address)
	return 0
}
