//go:build istiod

// Package ask asks istiod itself. ../run builds istiod and starts these tests; they are in no other run.
package ask

import (
	"context"
	"os"
	"slices"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"strait.dev/tests/cluster/oracle"
	"strait.dev/tests/cluster/oracle/istiod"
	"strait.dev/tests/cluster/rig"
)

func TestMain(m *testing.M) {
	rig.Main(m, rig.Options{CRDs: slices.Concat(rig.AllCRDs, rig.IstiodCRDs)})
}

// sides are the two gateways at one API.
type sides struct {
	*oracle.Rig
	cluster *rig.Cluster
	process *istiod.Process
	gateway *istiod.Gateway
	folder  string
}

// start starts both.
func start(t *testing.T) *sides {
	t.Helper()
	it := prepare(t)
	it.startStrait(t, oracle.StraitConfig)
	it.startIstiod(t)
	return it
}

// startOfTwo starts both for two clusters.
func startOfTwo(t *testing.T) *sides {
	t.Helper()
	it := prepare(t)
	other := it.cluster.Other(t)
	var err error
	if it.Other, err = oracle.Open(other.KubeconfigPath); err != nil {
		t.Fatal(err)
	}
	if err := it.Other.ApplyAll(oracle.BaseOfOther(), nil); err != nil {
		t.Fatal(err)
	}
	it.startStrait(t, oracle.ConfigOfTwo(other.Reader(t)))
	it.startIstiod(t)
	it.tellIstiod(t, other.KubeconfigPath)
	return it
}

// tellIstiod gives istiod the access to the second cluster, as istioctl create-remote-secret does.
func (s *sides) tellIstiod(t *testing.T, kubeconfig string) {
	t.Helper()
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	secret := &core.Secret{
		ObjectMeta: meta.ObjectMeta{Name: "istio-remote-secret", Namespace: "istio-system", Labels: map[string]string{"istio/multiCluster": "true"}},
		Data:       map[string][]byte{oracle.ClusterOfOther: text},
	}
	secrets := s.cluster.Client.CoreV1().Secrets("istio-system")
	if _, err := secrets.Create(t.Context(), secret, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := secrets.Delete(context.Background(), secret.Name, meta.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func prepare(t *testing.T) *sides {
	t.Helper()
	cluster := rig.Get()
	api, err := oracle.Open(cluster.KubeconfigPath)
	if err != nil {
		t.Fatal(err)
	}
	if err := api.ApplyAll(oracle.Base(), nil); err != nil {
		t.Fatal(err)
	}
	it := &sides{cluster: cluster, folder: t.TempDir()}
	it.Rig = &oracle.Rig{API: api, Istiod: func() (oracle.Names, error) { return it.gateway.Names() }}
	t.Cleanup(it.stopIstiod)
	return it
}

func (s *sides) startStrait(t *testing.T, config string) {
	t.Helper()
	strait := s.cluster.Strait(t, rig.Strait{Config: config, Node: oracle.GatewayNode})
	strait.WaitReady(t)
	s.Strait = oracle.Strait{URL: "http://" + strait.Address(15000)}.Names
}

func (s *sides) startIstiod(t *testing.T) {
	t.Helper()
	var err error
	if s.process, err = istiod.Start(os.Getenv("STRAIT_ISTIOD"), s.cluster.KubeconfigPath, s.folder); err != nil {
		t.Fatal(err)
	}
	if s.gateway, err = s.process.Connect(); err != nil {
		t.Fatal(err)
	}
}

func (s *sides) stopIstiod() {
	if s.gateway != nil {
		s.gateway.Close()
	}
	if s.process != nil {
		s.process.Stop()
	}
}

// seedsFrom gives some seeds in a row.
func seedsFrom(first, count int) []uint64 {
	var out []uint64
	for n := range count {
		out = append(out, uint64(first+n))
	}
	return out
}
