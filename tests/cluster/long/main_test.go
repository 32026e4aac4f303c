// Package long is the long tier: what takes an hour, or more objects than a run of tests/run has time for. Each test
// logs its figures.
//
//	go test ./long -v -timeout 3h -run TestName FLAGS
package long

import (
	"testing"
	"time"

	"strait.dev/tests/cluster/rig"
)

func TestMain(m *testing.M) { rig.Main(m, rig.Options{CRDs: rig.AllCRDs}) }

// mesh is a call of Istio's client to a Service.
func mesh(namespace, service string) rig.Call {
	return rig.Call{SNI: service + "." + namespace + ".svc.cluster.local", ALPN: "istio"}
}

// up is the number of kinds that are watched, stale that of kinds known only as they were.
func up(g *rig.Gateway) float64    { return g.Metric("strait_kubernetes_watch_up") }
func stale(g *rig.Gateway) float64 { return g.Metric("strait_kubernetes_stale") }

// errors is the number of failed requests to the API for this reason.
func errors(g *rig.Gateway, reason string) float64 {
	return g.Metric("strait_kubernetes_errors_total", `reason="`+reason+`"`)
}

// served makes an exported Service with a pod.
func served(t *testing.T, namespace, name string) rig.Pod {
	t.Helper()
	c := rig.Get()
	c.Apply(t, rig.Service(namespace, name, 443, rig.Exported))
	return c.Pod(t, rig.Pod{Namespace: namespace, Name: name + "-0", Labels: rig.Mesh(name)})
}

// watcher looks at a gateway again and again until Stop, for what must hold at every look.
type watcher struct {
	gateway *rig.Gateway
	stop    chan struct{}
	done    chan struct{}

	looks, notReady, stale int
}

func watchOver(g *rig.Gateway) *watcher {
	w := &watcher{gateway: g, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(time.Second):
			}
			w.looks++
			if ready, _ := g.Ready(); !ready {
				w.notReady++
			}
			if stale(g) > 0 {
				w.stale++
			}
		}
	}()
	return w
}

// Stop ends the looks, and fails the test if the gateway was not ready at one of them, or on request if a kind was stale.
func (w *watcher) Stop(t *testing.T, neverStale bool) {
	t.Helper()
	close(w.stop)
	<-w.done
	t.Logf("%d looks: not ready at %d, a kind stale at %d", w.looks, w.notReady, w.stale)
	if w.looks == 0 || w.notReady > 0 || neverStale && w.stale > 0 {
		t.Errorf("at %d looks it was not ready %d times, and had a stale kind %d times", w.looks, w.notReady, w.stale)
	}
}
