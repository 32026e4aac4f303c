package oracle

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Case is a hand-made set of objects about one question.
type Case struct {
	// Its name, which is the namespace of objects that name none.
	Name string `json:"-"`
	// The question.
	About string `json:"about"`
	// Settings of the mesh, if they are not the usual ones. istiod is started anew for such a case.
	Mesh    string   `json:"mesh,omitempty"`
	Objects []Object `json:"objects"`
	// The objects of a second cluster. Without any the case is about one cluster.
	Other []Object `json:"other,omitempty"`
	// Pods that begin to terminate.
	Terminating []string `json:"terminating,omitempty"`
	// Pods that are deleted when both sides know all objects.
	Gone []string `json:"gone,omitempty"`
}

//go:embed cases
var caseFiles embed.FS

// Cases reads the cases of the folder, in the order of their names.
func Cases() ([]Case, error) {
	entries, err := caseFiles.ReadDir("cases")
	if err != nil {
		return nil, err
	}
	var out []Case
	for _, entry := range entries {
		content, err := caseFiles.ReadFile(path.Join("cases", entry.Name()))
		if err != nil {
			return nil, err
		}
		it := Case{Name: strings.TrimSuffix(entry.Name(), ".yaml")}
		if err := yaml.UnmarshalStrict(content, &it); err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		if !it.hasNamespace(it.Name) {
			namespace := Object{"kind": "Namespace", "metadata": map[string]any{"name": it.Name}}
			it.Objects = append([]Object{namespace}, it.Objects...)
		}
		for n, o := range it.Objects {
			it.Objects[n] = Complete(o, it.Name)
		}
		for n, o := range it.Other {
			it.Other[n] = Complete(o, it.Name)
		}
		if it.Other != nil {
			it.Other = append(stage(it.Objects, []string{"Namespace"}), it.Other...)
		}
		out = append(out, it)
	}
	return out, nil
}

func (c Case) hasNamespace(name string) bool {
	return slices.ContainsFunc(c.Objects, func(o Object) bool { return o.Kind() == "Namespace" && o.Name() == name })
}

// Namespaces gives the namespaces of the case.
func (c Case) Namespaces() []string {
	var out []string
	for _, o := range stage(c.Objects, []string{"Namespace"}) {
		out = append(out, o.Name())
	}
	return out
}

// pods gives the pods of the case that have one of the names.
func (c Case) pods(names []string) []Object {
	return slices.DeleteFunc(stage(c.Objects, []string{"Pod"}), func(o Object) bool { return !slices.Contains(names, o.Name()) })
}

// Doomed gives the pods that begin to terminate.
func (c Case) Doomed() []Object { return c.pods(c.Terminating) }

// Together is the content of several cases.
type Together struct {
	Objects, Other []Object
	Namespaces     []string
	// Pods that begin to terminate, and pods that are deleted in the end.
	Doomed, Gone []Object
}

// Usual puts the cases together that have the usual settings of the mesh and one cluster.
func Usual(cases []Case) Together {
	return together(cases, func(one Case) bool { return one.Mesh == "" && one.Other == nil })
}

// OfTwo puts the cases together that have the usual settings of the mesh and two clusters.
func OfTwo(cases []Case) Together {
	return together(cases, func(one Case) bool { return one.Mesh == "" && one.Other != nil })
}

func together(cases []Case, chosen func(Case) bool) Together {
	var out Together
	for _, one := range cases {
		if chosen(one) {
			out.Other = append(out.Other, one.Other...)
			out.Objects, out.Namespaces = append(out.Objects, one.Objects...), append(out.Namespaces, one.Namespaces()...)
			out.Doomed, out.Gone = append(out.Doomed, one.Doomed()...), append(out.Gone, one.pods(one.Gone)...)
		}
	}
	return out
}

const (
	// GatewayNode is the node that both gateways run on.
	GatewayNode = "node1"
	// StraitConfig is a config of strait that routes every Service, as the Gateway of Base does.
	StraitConfig = `listeners: [{ name: east-west, bind: "[::]:15443" }]
kubernetes: { cluster: cluster-1, export: { mode: all } }
`
	// ClusterOfOther is the name of the second cluster.
	ClusterOfOther = "cluster-2"
)

// ConfigOfTwo is StraitConfig for two clusters, with a kubeconfig of the second one.
func ConfigOfTwo(kubeconfig string) string {
	other := "network: network1, clusters: [{ name: " + ClusterOfOther + ", network: network1, kubeconfig: " + kubeconfig + " }]"
	return strings.Replace(StraitConfig, "export:", other+", export:", 1)
}

// The settings of the mesh unless a case has others.
const usualMesh = "enableAutoMtls: true\ntrustDomain: cluster.local\n"

// Settings is the ConfigMap with the settings of a mesh.
func Settings(mesh string) Object {
	if mesh == "" {
		mesh = usualMesh
	}
	return Complete(Object{
		"kind": "ConfigMap", "metadata": map[string]any{"name": "istio"}, "data": map[string]any{"mesh": mesh},
	}, "istio-system")
}

// Base gives the objects that every case and every seed needs: Istio's namespace, the Gateway that routes every
// name, the settings of the mesh, and nodes of two zones.
func Base() []Object {
	objects := append(BaseOfOther(), Settings(""), Object{"kind": "Gateway", "metadata": map[string]any{"name": "cross-network-gateway"}, "spec": map[string]any{
		"selector": map[string]any{"istio": "eastwestgateway"},
		"servers": []any{map[string]any{
			"port": map[string]any{"number": 15443, "name": "tls", "protocol": "TLS"},
			"tls":  mode("AUTO_PASSTHROUGH"), "hosts": []any{"*.local"},
		}},
	}})
	return complete(objects)
}

func complete(objects []Object) []Object {
	for n, o := range objects {
		objects[n] = Complete(o, "istio-system")
	}
	return objects
}

// BaseOfOther gives the objects that a second cluster needs: Istio's namespace with the label of the network, and the nodes.
func BaseOfOther() []Object {
	node := func(name string, labels map[string]any) Object {
		return Object{"kind": "Node", "metadata": map[string]any{"name": name, "labels": labels}}
	}
	objects := []Object{
		{"kind": "Namespace", "metadata": map[string]any{
			"name": "istio-system", "labels": map[string]any{"topology.istio.io/network": "network1"},
		}},
		node("node1", map[string]any{
			"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1", "kubernetes.io/hostname": "node1",
		}),
		node("node2", map[string]any{
			"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z2", "topology.istio.io/subzone": "s2",
			"kubernetes.io/hostname": "node2",
		}),
		node("node3", nil),
	}
	return complete(objects)
}
