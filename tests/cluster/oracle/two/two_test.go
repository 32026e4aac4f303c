// Package two runs strait at two real APIs: two clusters of one network must be routed as istiod answered.
package two

import (
	"slices"
	"strings"
	"testing"
	"time"

	"strait.dev/tests/cluster/oracle"
	"strait.dev/tests/cluster/rig"
)

const (
	answers = "../answers"
	// The number of kinds that strait watches in another cluster.
	kinds = 5.0
	// wait is longer than a change takes to reach strait, by way of the controllers, on a busy machine.
	wait = 3 * time.Minute
)

// Beside the kinds that strait reads, that of Istio's own Gateways, which the objects of seeds contain.
func TestMain(m *testing.M) {
	rig.Main(m, rig.Options{CRDs: slices.Concat(rig.AllCRDs, []string{"gateways.networking.istio.io"})})
}

// world is strait with two clusters.
type world struct {
	own, second *oracle.API
	strait      *rig.Gateway
	// The kubeconfig by which strait reads the second cluster.
	kubeconfig string
}

func start(t *testing.T) *world {
	t.Helper()
	c := rig.Get()
	w := &world{}
	other := c.Other(t)
	var err error
	if w.own, err = oracle.Open(c.KubeconfigPath); err != nil {
		t.Fatal(err)
	}
	if w.second, err = oracle.Open(other.KubeconfigPath); err != nil {
		t.Fatal(err)
	}
	apply(t, w.own, oracle.Generated{Objects: oracle.Base()})
	apply(t, w.second, oracle.Generated{Objects: oracle.BaseOfOther()})
	w.kubeconfig = other.Reader(t)
	w.strait = c.Strait(t, rig.Strait{Config: oracle.ConfigOfTwo(w.kubeconfig), Node: oracle.GatewayNode})
	w.strait.WaitReady(t)
	return w
}

func apply(t *testing.T, api *oracle.API, made oracle.Generated) {
	t.Helper()
	if err := api.ApplyValid(made); err != nil {
		t.Fatal(err)
	}
}

func (w *world) clean(t *testing.T, namespaces []string) {
	t.Helper()
	for _, api := range []*oracle.API{w.own, w.second} {
		if err := api.Clean(namespaces); err != nil {
			t.Fatal(err)
		}
	}
}

// routes waits until strait routes what a state of a file of answers says.
func (w *world) routes(t *testing.T, name string, state int, namespaces []string) {
	t.Helper()
	expected, err := oracle.ExpectedAt(answers, name, state)
	if err != nil {
		t.Fatal(err)
	}
	strait := oracle.Strait{URL: "http://" + w.strait.Address(15000)}
	var surprises []oracle.Difference
	if !rig.Within(wait, func() bool {
		now, err := strait.Names()
		if err != nil {
			t.Fatal(err)
		}
		surprises = oracle.Compare(expected, now.Of(namespaces), nil, nil)
		return len(surprises) == 0
	}) {
		for _, one := range surprises {
			t.Errorf("%s, state %d: %s: strait %v, expected %v", name, state, one.Name, one.Strait, one.Istiod)
		}
		t.FailNow()
	}
}

func TestTwoClustersAreRoutedAsIstiodAnswered(t *testing.T) {
	w := start(t)
	both := oracle.OfTwo(cases(t))
	apply(t, w.second, oracle.Generated{Objects: both.Other})
	apply(t, w.own, oracle.Generated{Objects: both.Objects})
	w.routes(t, "two-cases", 0, both.Namespaces)
	w.clean(t, both.Namespaces)

	own, second := oracle.NewRounds([]uint64{1, 2, 3, 4, 5})
	apply(t, w.second, second.First)
	apply(t, w.own, own.First)
	w.routes(t, "two-seeds-01", 0, own.Namespaces)
	for api, round := range map[*oracle.API]oracle.Round{w.own: own, w.second: second} {
		if err := api.RemoveAll(round.Removed); err != nil {
			t.Fatal(err)
		}
		apply(t, api, round.Second)
	}
	w.routes(t, "two-seeds-01", 1, own.Namespaces)
	w.clean(t, own.Namespaces)

	// The rights of config/kubernetes/other-cluster are enough.
	w.watchesAll(t)
	if refused := w.strait.Metric("strait_kubernetes_cluster_errors_total", `reason="forbidden"`); refused != 0 {
		t.Errorf("the other cluster's API has refused %v requests", refused)
	}
	// Another token in the file is used at once, without a restart.
	rig.Get().Other(t).WriteReader(t, w.kubeconfig)
	rig.Eventually(t, "the new token is used", wait, func() bool {
		return strings.Contains(w.strait.Log(), "the kubeconfig of a cluster has changed")
	})
	w.watchesAll(t)
}

// watchesAll waits until every kind of the second cluster is watched, and none is stale.
func (w *world) watchesAll(t *testing.T) {
	t.Helper()
	rig.Eventually(t, "the second cluster is watched", wait, func() bool {
		return w.strait.Metric("strait_kubernetes_cluster_watch_up") == kinds && w.strait.Metric("strait_kubernetes_cluster_stale") == 0
	})
}

func cases(t *testing.T) []oracle.Case {
	t.Helper()
	all, err := oracle.Cases()
	if err != nil {
		t.Fatal(err)
	}
	return all
}
