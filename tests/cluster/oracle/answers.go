package oracle

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Answers is what istiod said about a set of objects that changes: a file of answers/.
type Answers struct {
	// The name of the file, without its end.
	Name string `json:"-"`
	// The version of istiod, and that of the API server whose controllers made slices.
	Istio      string `json:"istio"`
	Kubernetes string `json:"kubernetes"`
	// The namespaces whose names count.
	Namespaces []string `json:"namespaces"`
	States     []State  `json:"states"`
}

// State is what istiod said when the API held some objects.
type State struct {
	// Objects as the API serves them, without the fields that neither istiod nor strait looks at. Those of the first
	// state are all; those of a later one are new or have changed.
	Objects []Object `json:"objects"`
	// Objects of the state before that are gone.
	Gone []Key `json:"gone"`
	// The same for the second cluster, if the answers are about two.
	Other     []Object `json:"other,omitempty"`
	OtherGone []Key    `json:"other_gone,omitempty"`
	Names     Names    `json:"names"`
}

// The kinds of object that are stored: those that the oracle writes, and slices that a controller makes.
var stored = []string{
	"Namespace", "Node", "ConfigMap", "Service", "EndpointSlice", "Pod", "DestinationRule", "PeerAuthentication", "Gateway",
	"ServiceEntry", "WorkloadEntry",
}

// Read reads the objects of the API that a state is made of: those of some namespaces, those without a namespace, and
// those of Istio's namespace.
func (api *API) Read(namespaces []string) ([]Object, error) {
	var out []Object
	for _, kind := range stored {
		found, err := api.List(kind)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			namespace := o.Namespace()
			if kind == "Namespace" {
				namespace = o.Name()
			}
			wanted := kind == "Node" || namespace == "istio-system" || slices.Contains(namespaces, namespace)
			if wanted && !strings.HasPrefix(o.Name(), markerName) && o.Name() != "kube-root-ca.crt" {
				out = append(out, prune(o))
			}
		}
	}
	return out, nil
}

// prune removes fields that neither istiod nor strait looks at, and defaults that say nothing.
func prune(o Object) Object {
	o = plain(o)
	metadata := table(o, "metadata")
	for _, field := range []string{"managedFields", "uid", "resourceVersion", "generation", "ownerReferences", "generateName",
		"finalizers", "deletionGracePeriodSeconds"} {
		delete(metadata, field)
	}
	// Only of these the older one counts.
	if kind := o.Kind(); kind != "DestinationRule" && kind != "PeerAuthentication" {
		delete(metadata, "creationTimestamp")
	}
	switch o.Kind() {
	case "Namespace", "Node":
		delete(o, "spec")
		delete(o, "status")
	case "Service":
		spec := table(o, "spec")
		if text(spec, "clusterIP") != "None" {
			delete(spec, "clusterIP")
		}
		for _, field := range []string{"clusterIPs", "sessionAffinity", "allocateLoadBalancerNodePorts", "externalTrafficPolicy"} {
			delete(spec, field)
		}
		for _, port := range list(spec, "ports") {
			delete(port.(map[string]any), "nodePort")
		}
		for field, value := range map[string]any{"internalTrafficPolicy": "Cluster", "ipFamilyPolicy": "SingleStack", "type": "ClusterIP"} {
			if spec[field] == value {
				delete(spec, field)
			}
		}
		if families := list(spec, "ipFamilies"); len(families) == 1 && families[0] == "IPv4" {
			delete(spec, "ipFamilies")
		}
		if len(table(o, "status", "loadBalancer")) == 0 {
			delete(o, "status")
		}
	case "EndpointSlice":
		delete(table(metadata, "labels"), "endpointslice.kubernetes.io/managed-by")
		annotations := table(metadata, "annotations")
		delete(annotations, "endpoints.kubernetes.io/last-change-trigger-time")
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
		for _, endpoint := range list(o, "endpoints") {
			delete(table(endpoint, "targetRef"), "uid")
		}
	case "Pod":
		prunePod(o)
	}
	return o
}

func prunePod(o Object) {
	keep := func(from any, fields ...string) map[string]any {
		out := map[string]any{}
		for _, field := range fields {
			if value := at(from, field); value != nil {
				out[field] = value
			}
		}
		return out
	}
	spec := keep(o["spec"], "nodeName", "hostname", "subdomain", "hostNetwork")
	var ports []any
	for _, container := range list(o, "spec", "containers") {
		for _, port := range list(container, "ports") {
			ports = append(ports, keep(port, "name", "containerPort"))
		}
	}
	if ports != nil {
		spec["containers"] = []any{map[string]any{"name": "app", "ports": ports}}
	}
	status := keep(o["status"], "phase", "podIP", "podIPs")
	for _, condition := range list(o, "status", "conditions") {
		if text(condition, "type") == "Ready" {
			status["conditions"] = []any{keep(condition, "type", "status")}
		}
	}
	o["spec"], o["status"] = spec, status
}

// Changes gives the objects of `after` that `before` lacks or has otherwise, and those of `before` that are gone.
func Changes(before, after []Object) (changed []Object, gone []Key) {
	encode := func(o Object) string {
		content, _ := json.Marshal(o)
		return string(content)
	}
	was := map[Key]string{}
	for _, o := range before {
		was[o.Key()] = encode(o)
	}
	is := map[Key]bool{}
	for _, o := range after {
		is[o.Key()] = true
		if was[o.Key()] != encode(o) {
			changed = append(changed, o)
		}
	}
	for _, o := range before {
		if !is[o.Key()] {
			gone = append(gone, o.Key())
		}
	}
	return changed, gone
}

// ObjectsAt gives every object of a state, in the first and in the second cluster.
func (a Answers) ObjectsAt(state int) (own, other []Object) {
	after := func(before, changed []Object, gone []Key) []Object {
		out := slices.DeleteFunc(before, func(o Object) bool {
			again := func(other Object) bool { return other.Key() == o.Key() }
			return slices.Contains(gone, o.Key()) || slices.ContainsFunc(changed, again)
		})
		return append(out, changed...)
	}
	for _, one := range a.States[:state+1] {
		own, other = after(own, one.Objects, one.Gone), after(other, one.Other, one.OtherGone)
	}
	return own, other
}

// Save writes the file into a folder, each object and each name on a line of its own.
func (a Answers) Save(folder string) error {
	var out bytes.Buffer
	line := func(value any) []byte {
		var encoded bytes.Buffer
		encoder := json.NewEncoder(&encoded)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			panic(err)
		}
		return bytes.TrimSpace(encoded.Bytes())
	}
	head := func(key string, value any) {
		out.WriteString(`"` + key + `": `)
		out.Write(line(value))
		out.WriteString(",\n")
	}
	lines := func(key, ends string, all [][]byte) {
		out.WriteString(`"` + key + `": ` + ends[:1] + "\n")
		out.Write(bytes.Join(all, []byte(",\n")))
		out.WriteString("\n" + ends[1:])
	}
	out.WriteString("{\n")
	head("istio", a.Istio)
	head("kubernetes", a.Kubernetes)
	head("namespaces", a.Namespaces)
	out.WriteString(`"states": [`)
	for n, state := range a.States {
		if n > 0 {
			out.WriteString(",")
		}
		out.WriteString("{\n")
		var names [][]byte
		for _, name := range sortedNames(state.Names) {
			names = append(names, []byte(string(line(name))+": "+string(line(state.Names[name]))))
		}
		lines("objects", "[]", encoded(state.Objects, line))
		out.WriteString(",\n")
		lines("gone", "[]", encoded(state.Gone, line))
		out.WriteString(",\n")
		if len(state.Other)+len(state.OtherGone) > 0 {
			lines("other", "[]", encoded(state.Other, line))
			out.WriteString(",\n")
			lines("other_gone", "[]", encoded(state.OtherGone, line))
			out.WriteString(",\n")
		}
		lines("names", "{}", names)
		out.WriteString("\n}")
	}
	out.WriteString("]\n}\n")
	return os.WriteFile(filepath.Join(folder, a.Name+".json"), out.Bytes(), 0o644)
}

func encoded[V any](all []V, line func(any) []byte) [][]byte {
	var out [][]byte
	for _, one := range all {
		out = append(out, line(one))
	}
	return out
}

func sortedNames[V any](of map[string]V) []string {
	var out []string
	for name := range of {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Load reads the answers of a folder.
func Load(folder string) ([]Answers, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []Answers
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		it := Answers{Name: name}
		if err := json.Unmarshal(content, &it); err != nil {
			return nil, err
		}
		out = append(out, it)
	}
	return out, nil
}
