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

// Beside the kinds that strait reads, those that istiod reads.
var crds = slices.Concat(rig.AllCRDs, []string{
	"gateways.networking.istio.io", "virtualservices.networking.istio.io", "sidecars.networking.istio.io", "envoyfilters.networking.istio.io",
	"proxyconfigs.networking.istio.io", "workloadgroups.networking.istio.io", "authorizationpolicies.security.istio.io",
	"requestauthentications.security.istio.io", "telemetries.telemetry.istio.io", "wasmplugins.extensions.istio.io",
})

func TestMain(m *testing.M) {
	rig.Main(m, rig.Options{CRDs: crds, Controllers: []string{"deployment-controller", "replicaset-controller"}})
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
