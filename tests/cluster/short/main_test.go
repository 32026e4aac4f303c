// Package short is the short tier: strait against a real control plane, in every run of tests/run.
//
// Tests that stop what all tests share (CRDs) come first, one by one; the others run beside each other, each with names
// and, if it has Gateways, with an account of its own.
package short

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"strait.dev/tests/cluster/rig"
)

// wait is the longest time for what takes a moment.
const wait = 2 * time.Minute

func TestMain(m *testing.M) { rig.Main(m, rig.Options{CRDs: rig.AllCRDs}) }

// host is the name of a Service in the cluster's DNS.
func host(namespace, service string) string {
	return service + "." + namespace + ".svc.cluster.local"
}

// mesh is a call of Istio's client to a Service.
func mesh(namespace, service string) rig.Call {
	return rig.Call{SNI: host(namespace, service), ALPN: "istio"}
}

// edit replaces a text of the base config, which must have it.
func edit(t *testing.T, from, to string) func(string) string {
	t.Helper()
	return func(config string) string {
		if !strings.Contains(config, from) {
			t.Errorf("config/kubernetes/base/strait.yaml has no %q any more", from)
		}
		return strings.Replace(config, from, to, 1)
	}
}

// slice is the YAML of an EndpointSlice of a Service, made by hand, with one address.
func slice(namespace, service, name, address string, port int, conditions string) string {
	return fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: %s, namespace: %s, labels: { kubernetes.io/service-name: %s } }
addressType: IPv4
ports: [{ name: https, protocol: TCP, port: %d }]
endpoints: [{ addresses: [%q], conditions: { %s } }]
`, name, namespace, service, port, address, conditions)
}

// waitConditions waits until a Gateway API object has these conditions, each "TYPE" to "STATUS/REASON".
func waitConditions(t *testing.T, kind, namespace, name string, wanted map[string]string) {
	t.Helper()
	var last map[string]string
	// A Lease of a gateway that was killed is free after 15 s.
	if !rig.Within(wait, func() bool {
		last = rig.Get().Conditions(t, kind, namespace, name)
		for condition, value := range wanted {
			if last[condition] != value {
				return false
			}
		}
		return true
	}) {
		t.Fatalf("%s %s/%s has the conditions %v, not %v", kind, namespace, name, last, wanted)
	}
}
