//go:build istiod

// Package migration replaces Istio's east-west gateway by strait and goes back, as config/kubernetes/README.md says it,
// in a mesh of two networks: a real istiod, real sidecars and Istio's own gateway, all of them pilot-agent with Envoy.
// ./run builds what it starts and runs it; it is in no other run.
package migration

import (
	"os"
	"slices"
	"testing"

	"strait.dev/tests/cluster/rig"
)

func TestMain(m *testing.M) {
	rig.Main(m, rig.Options{CRDs: slices.Concat(rig.AllCRDs, rig.IstiodCRDs), Controllers: []string{"deployment-controller", "replicaset-controller"}})
}

// needed is a path of the environment that ./run sets.
func needed(t *testing.T, name string) string {
	t.Helper()
	path := os.Getenv(name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s: %v; tests/cluster/migration/run sets it", name, err)
	}
	return path
}
