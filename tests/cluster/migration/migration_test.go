//go:build istiod

package migration

import (
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"strait.dev/tests/cluster/node"
	"strait.dev/tests/cluster/rig"
)

var (
	length = flag.Duration("stage", 40*time.Second, "the time for which each stage is measured")
	drain  = flag.String("drain", "45s", "terminationDrainDuration of Istio's gateway")
)

// trial is the mesh with the calls that go on all the time.
type trial struct {
	*rig.Cluster
	kubelet *node.Kubelet
	calls   *traffic
	servers []*node.Pod
	// judged are the counts when they were looked at last, since when that was.
	judged map[string]int
	since  time.Time
	logs   map[string]string
	report []string
}

func TestMigration(t *testing.T) {
	it := &trial{Cluster: rig.Get(), logs: map[string]string{}}
	it.install(t)

	it.stage(t, "Istio's gateway alone", 2, 0)

	it.Kubectl(t, "apply", "-k", filepath.Join(rig.Root(), "config/kubernetes/istio-migration"))
	it.rolledOut(t, "strait-eastwest")
	it.judge(t, "one strait joins")
	it.stage(t, "one of three is strait", 2, 1)

	it.scale(t, "strait-eastwest", 2)
	it.rolledOut(t, "strait-eastwest")
	it.scale(t, istioName, 0)
	it.gone(t, istioName)
	it.judge(t, "the last of Istio's leaves")
	it.stage(t, "strait alone", 0, 2)

	it.scale(t, istioName, 2)
	it.rolledOut(t, istioName)
	it.scale(t, "strait-eastwest", 0)
	it.gone(t, "strait-eastwest")
	it.judge(t, "back to Istio's")
	it.stage(t, "Istio's gateway alone again", 2, 0)

	it.calls.end()
	it.judge(t, "the end")
	for outcome, count := range outcomes(t, it.logs) {
		it.note("strait's access log: %d of outcome %s", count, outcome)
		if word, _, _ := strings.Cut(outcome, " "); !slices.Contains([]string{"ok", "drained", "probe"}, word) {
			t.Errorf("strait's access log has %d connections with outcome %s", count, outcome)
		}
	}
	fmt.Println(strings.Join(it.report, "\n"))
}

// note adds a line to what the test says at its end.
func (it *trial) note(format string, values ...any) {
	it.report = append(it.report, fmt.Sprintf(format, values...))
}

// install brings the mesh up until every kind of call succeeds.
func (it *trial) install(t *testing.T) {
	t.Helper()
	networks, err := node.NewNetworks("network1", "network2")
	if err != nil {
		t.Fatal(err)
	}
	startIstiod(t, it.Cluster)
	for _, namespace := range []string{"apps", "shop"} {
		it.NamespaceNamed(t, namespace, nil)
	}
	balancer := node.NewBalancer(it.Client, "10.98.2")
	t.Cleanup(func() {
		if err := balancer.Stop(); err != nil {
			t.Errorf("load balancer: %v", err)
		}
	})
	root := rootCertificate(t, it.Cluster)
	sidecar, strait := proxy(t, "sidecar", root), needed(t, "STRAIT_BIN")
	images := map[string]node.Image{
		"auto":   proxy(t, "router", root),
		"client": sidecar,
		"server": func(pod *node.Pod) (*rig.Process, error) {
			if err := serve(pod); err != nil {
				return nil, err
			}
			return sidecar(pod)
		},
		"strait:0.1.0": func(pod *node.Pod) (*rig.Process, error) { return pod.Container(strait) },
	}
	it.kubelet = node.NewKubelet(it.Cluster, rig.Dir+"/pods", networks, images, "istio-system", "apps", "shop")
	t.Cleanup(func() {
		if err := it.kubelet.Stop(); err != nil {
			t.Errorf("kubelet: %v", err)
		}
	})
	installGateway(t, it.Cluster, *drain)
	it.Apply(t, workloads)
	it.Apply(t, workloadPod("shop", "client", "client", "client", "network2", "v1"),
		workloadPod("apps", "svcb-v1", "svcb", "server", "network1", "v1"), workloadPod("apps", "svcb-v2", "svcb", "server", "network1", "v2"))
	it.Kubectl(t, "wait", "-A", "--for=condition=Ready", "pod", "--all", "--timeout=180s")
	it.rolledOut(t, istioName)
	var client *node.Pod
	for _, pod := range it.kubelet.Pods() {
		switch pod.Namespace {
		case "shop":
			client = pod
		case "apps":
			it.servers = append(it.servers, pod)
		}
	}
	address := it.Kubectl(t, "-n", "apps", "get", "service", "svcb", "-o", "jsonpath={.spec.clusterIP}")
	// Until the caller's sidecar knows the gateway, calls fail.
	rig.Eventually(t, "a call by TCP and a call by HTTP", time.Minute, func() bool {
		first := calls(client.Space, address)
		time.Sleep(3 * time.Second)
		first.end()
		failed := first.takeFailed()
		if len(failed) > 0 {
			t.Logf("not yet: %s", failed[0])
		}
		return len(failed) == 0
	})
	it.calls, it.since = calls(client.Space, address), time.Now()
}

func (it *trial) scale(t *testing.T, deployment string, to int) {
	t.Helper()
	it.Kubectl(t, "-n", "istio-system", "scale", "deploy/"+deployment, fmt.Sprintf("--replicas=%d", to))
}

// rolledOut waits for a Deployment's pods, and for the load balancer to know them.
func (it *trial) rolledOut(t *testing.T, deployment string) {
	t.Helper()
	it.Kubectl(t, "-n", "istio-system", "rollout", "status", "deployment/"+deployment, "--timeout=120s")
	time.Sleep(time.Second)
}

// gone waits for the end of a Deployment's pods.
func (it *trial) gone(t *testing.T, deployment string) {
	t.Helper()
	rig.Eventually(t, "no pod of "+deployment, 2*time.Minute, func() bool {
		istio, strait := gateways(it.kubelet)
		return !slices.ContainsFunc(slices.Concat(istio, strait), func(of *node.Pod) bool { return strings.HasPrefix(of.Name, deployment) })
	})
}

// judge fails for the calls that failed since the last time.
func (it *trial) judge(t *testing.T, what string) {
	t.Helper()
	now, total, failed := it.calls.counts(), 0, it.calls.takeFailed()
	for kind, count := range now {
		total += count - it.judged[kind]
	}
	it.judged = now
	if len(failed) > 0 {
		t.Errorf("%s: of %d calls %d failed:\n%s", what, total, len(failed), strings.Join(failed[:min(len(failed), 40)], "\n"))
	}
	it.note("%s: %d calls in %.0f s, %d failed", what, total, time.Since(it.since).Seconds(), len(failed))
	it.since = time.Now()
}

// stage measures the calls while the gateways are so many of Istio's and so many of strait. Every kind of call must have
// gone through the gateways that there are, and none may have failed.
func (it *trial) stage(t *testing.T, what string, ofIstio, ofStrait int) {
	t.Helper()
	istio, strait := gateways(it.kubelet)
	if len(istio) != ofIstio || len(strait) != ofStrait {
		t.Fatalf("%s: %d pods of Istio's gateway and %d of strait", what, len(istio), len(strait))
	}
	for _, pod := range strait {
		it.logs[pod.Name] = pod.Process.LogPath()
	}
	for _, pod := range it.servers {
		refusesPlainText(t, pod)
	}
	before, istioBefore, straitBefore := it.calls.counts(), passedByIstio(t, istio), passedByStrait(t, strait)
	time.Sleep(*length)
	after := it.calls.counts()
	byIstio, byStrait := passedByIstio(t, istio).since(istioBefore), passedByStrait(t, strait).since(straitBefore)
	it.judge(t, what)
	for _, kind := range slices.Sorted(maps.Keys(after)) {
		count := after[kind] - before[kind]
		if count == 0 {
			t.Errorf("%s: no call of the kind %s", what, kind)
		}
		it.note("%s: %d calls of the kind %s", what, count, kind)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		it.note("%s: %s: %d connections by Istio's gateway, %d by strait", what, name, byIstio[name], byStrait[name])
		if ofIstio == 0 && byStrait[name] == 0 || ofStrait == 0 && byIstio[name] == 0 {
			t.Errorf("%s: no connection for %s", what, name)
		}
	}
	if all := byIstio.sum() + byStrait.sum(); ofIstio > 0 && ofStrait > 0 {
		share, due := float64(byStrait.sum())/float64(all), float64(ofStrait)/float64(ofIstio+ofStrait)
		it.note("%s: strait had %.2f of %d connections", what, share, all)
		if share < due-0.1 || share > due+0.1 {
			t.Errorf("%s: strait had %.2f of the connections, not %.2f", what, share, due)
		}
	}
}
