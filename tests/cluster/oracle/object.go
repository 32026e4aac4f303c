package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Object is an object of the Kubernetes API, as JSON decodes it.
type Object map[string]any

// Key identifies an object in a cluster.
type Key struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// resource is the place of a kind in the API.
type resource struct {
	group, plural string
	clusterWide   bool
}

// resources holds the kinds that the oracle writes.
var resources = map[string]resource{
	"Namespace":          {"v1", "namespaces", true},
	"Node":               {"v1", "nodes", true},
	"Pod":                {"v1", "pods", false},
	"Service":            {"v1", "services", false},
	"ConfigMap":          {"v1", "configmaps", false},
	"EndpointSlice":      {"discovery.k8s.io/v1", "endpointslices", false},
	"PeerAuthentication": {"security.istio.io/v1", "peerauthentications", false},
	"DestinationRule":    {"networking.istio.io/v1", "destinationrules", false},
	"ServiceEntry":       {"networking.istio.io/v1", "serviceentries", false},
	"WorkloadEntry":      {"networking.istio.io/v1", "workloadentries", false},
	"Gateway":            {"networking.istio.io/v1", "gateways", false},
}

// Kind is the object's kind.
func (o Object) Kind() string { return text(o, "kind") }

// Name is the object's name.
func (o Object) Name() string { return text(o, "metadata", "name") }

// Namespace is the object's namespace, empty if it has none.
func (o Object) Namespace() string { return text(o, "metadata", "namespace") }

// Key identifies the object.
func (o Object) Key() Key { return Key{o.Kind(), o.Namespace(), o.Name()} }

// Label is the value of a label, empty if there is none.
func (o Object) Label(key string) string { return text(o, "metadata", "labels", key) }

// at follows a path of keys; nil if it ends early.
func at(value any, path ...string) any {
	for _, key := range path {
		switch of := value.(type) {
		case Object:
			value = of[key]
		case map[string]any:
			value = of[key]
		default:
			return nil
		}
	}
	return value
}

func text(value any, path ...string) string {
	found, _ := at(value, path...).(string)
	return found
}

func list(value any, path ...string) []any {
	found, _ := at(value, path...).([]any)
	return found
}

// table is the map at the end of a path, nil if there is none.
func table(value any, path ...string) map[string]any {
	found, _ := at(value, path...).(map[string]any)
	return found
}

// number reads a number however it was made: in Go, or from JSON.
func number(value any, path ...string) int {
	switch found := at(value, path...).(type) {
	case int:
		return found
	case float64:
		return int(found)
	}
	return 0
}

// put sets the value at a path of keys, and makes the maps on the way.
func put(o Object, value any, path ...string) {
	of := map[string]any(o)
	for _, key := range path[:len(path)-1] {
		next, ok := of[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			of[key] = next
		}
		of = next
	}
	of[path[len(path)-1]] = value
}

// plain gives the object as if it had been read from JSON, so that all code meets one set of types.
func plain(o Object) Object {
	encoded, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("an object of maps, lists, texts and numbers: %v", err))
	}
	var out Object
	if err := json.Unmarshal(encoded, &out); err != nil {
		panic(err)
	}
	return out
}

// Complete fills in the fields that no case is about: the version of the API, the namespace, and the parts of a Pod
// that the API demands or that a kubelet reports.
func Complete(o Object, namespace string) Object {
	o = plain(o)
	kind, known := resources[o.Kind()]
	if !known {
		panic(fmt.Sprintf("the oracle knows no kind %q", o.Kind()))
	}
	if text(o, "apiVersion") == "" {
		put(o, kind.group, "apiVersion")
	}
	if !kind.clusterWide && o.Namespace() == "" {
		put(o, namespace, "metadata", "namespace")
	}
	if o.Kind() == "Pod" {
		completePod(o)
	}
	return o
}

func completePod(pod Object) {
	missing := func(value any, path ...string) {
		if at(pod, path...) == nil {
			put(pod, value, path...)
		}
	}
	missing("node1", "spec", "nodeName")
	missing([]any{map[string]any{}}, "spec", "containers")
	for _, container := range list(pod, "spec", "containers") {
		container.(map[string]any)["name"] = "app"
		container.(map[string]any)["image"] = "app"
	}
	// A pod that is deleted stays as terminating until the test ends.
	missing(3600, "spec", "terminationGracePeriodSeconds")
	missing("Running", "status", "phase")
	missing([]any{map[string]any{"type": "Ready", "status": "True"}}, "status", "conditions")
	if ips := list(pod, "status", "podIPs"); len(ips) > 0 {
		missing(text(ips[0], "ip"), "status", "podIP")
		missing("10.98.0.9", "status", "hostIP")
		missing([]any{map[string]any{"ip": "10.98.0.9"}}, "status", "hostIPs")
	}
}

// The order in which objects are created. istiod looks for the pod of an endpoint only when it sees the endpoint, so
// pods come first.
var stages = [][]string{
	{"Namespace", "Node"},
	{"ConfigMap", "Gateway", "Pod"},
	{"Service"},
	{"EndpointSlice", "ServiceEntry", "WorkloadEntry"},
	// One after the other by name: where policies compete, the older one counts, and of two of one second the first by
	// name. So it is always the first by name.
	{"DestinationRule", "PeerAuthentication"},
}

// byAge sorts objects so that no policy is created before one that comes first by name.
func byAge(a, b Object) int {
	return strings.Compare(a.Name()+"/"+a.Namespace(), b.Name()+"/"+b.Namespace())
}

// stage takes the objects of some kinds.
func stage(objects []Object, kinds []string) []Object {
	var out []Object
	for _, o := range objects {
		if slices.Contains(kinds, o.Kind()) {
			out = append(out, o)
		}
	}
	return out
}
