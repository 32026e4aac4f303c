package long

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"strait.dev/tests/cluster/rig"
)

var (
	services  = flag.Int("services", 7000, "Services with a ClusterIP; the API's allocator slows down with each")
	headless  = flag.Int("headless", 0, "headless Services beside them, without selector")
	perOne    = flag.Int("pods", 5, "pods of each Service with a ClusterIP")
	changes   = flag.Int("changes", 200, "Services that are made, moved and deleted one after another for the figures")
	workers   = flag.Int("workers", 16, "requests at the same time")
	startWait = flag.Duration("start-wait", 10*time.Minute, "the longest time until ready")
)

const namespaces = 20

// each does something for 0 to n-1, several at the same time, and again after a failure.
func each(t *testing.T, what string, n int, do func(int) error) {
	t.Helper()
	begin, next, failed := time.Now(), atomic.Int64{}, atomic.Int64{}
	var all sync.WaitGroup
	for range *workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				var err error
				for range 5 {
					if err = do(i); err == nil || apierrors.IsAlreadyExists(err) {
						err = nil
						break
					}
					time.Sleep(200 * time.Millisecond)
				}
				if err != nil && failed.Add(1) < 4 {
					t.Errorf("%s %d: %v", what, i, err)
				}
			}
		})
	}
	all.Wait()
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
	ports := []core.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt32(rig.EchoPort)}}
	each(t, "Services with a ClusterIP", *services, func(i int) error {
		name := fmt.Sprintf("svc-%d", i)
		_, err := c.Client.CoreV1().Services(of(i)).Create(context.Background(), &core.Service{
			ObjectMeta: meta.ObjectMeta{Name: name, Annotations: exported},
			Spec:       core.ServiceSpec{Selector: map[string]string{"app": name}, Ports: ports}}, meta.CreateOptions{})
		return err
	})
	each(t, "headless Services", *headless, func(i int) error {
		_, err := c.Client.CoreV1().Services(of(i)).Create(context.Background(), &core.Service{
			ObjectMeta: meta.ObjectMeta{Name: fmt.Sprintf("headless-%d", i), Annotations: exported},
			Spec:       core.ServiceSpec{ClusterIP: "None", Ports: ports}}, meta.CreateOptions{})
		return err
	})
	each(t, "pods", *services**perOne, func(i int) error {
		service := i / *perOne
		_, err := c.MakePod(rig.Pod{Namespace: of(service), Name: fmt.Sprintf("svc-%d-%d", service, i%*perOne),
			Labels: rig.Mesh(fmt.Sprintf("svc-%d", service)), Node: fmt.Sprintf("node-%d", i%3)})
		return err
	})

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
