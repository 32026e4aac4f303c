package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// A Seed's objects in one namespace.
type generator struct {
	random    *rand.Rand
	namespace string
	// The namespaces that rules and exports may name.
	namespaces []string
	// The beginning of the names of its workloads.
	prefix string
	// The third part of its pods' addresses.
	network  int
	lastIP   int
	pods     []Object
	objects  []Object
	doomed   []Object
	services []string
}

// Generated is what a seed makes.
type Generated struct {
	Objects []Object
	// Pods that begin to terminate.
	Terminating []Object
}

// one picks an element.
func one[T any](g *generator, of ...T) T { return of[g.random.IntN(len(of))] }

func (g *generator) chance(percent int) bool { return g.random.IntN(100) < percent }

// between gives a number of a range, its ends included.
func (g *generator) between(first, last int) int { return first + g.random.IntN(last-first+1) }

// weighted picks an element with a probability in proportion to its weight.
func weighted[T any](g *generator, of []T, weights ...int) T {
	sum := 0
	for _, weight := range weights {
		sum += weight
	}
	left := g.random.IntN(sum)
	for n, weight := range weights {
		if left -= weight; left < 0 {
			return of[n]
		}
	}
	panic("the weights add up")
}

func newGenerator(seed uint64, namespace string, network int, namespaces []string) *generator {
	return &generator{
		random: rand.New(rand.NewPCG(seed, 0x7374726169740000)), namespace: namespace, network: network,
		namespaces: namespaces, services: []string{"svc0", "svc1", "svc2", "svc3", "svc4"},
	}
}

// generate makes a seed's objects for a namespace. `network` is the part of the pods' addresses that no other
// namespace may have, and `namespaces` are those that exist.
func generate(seed uint64, namespace string, network, firstIP int, namespaces []string) Generated {
	g := newGenerator(seed, namespace, network, namespaces)
	if network > networkOfOther {
		// istiod confuses workloads of two clusters that have one name.
		g.prefix = "other-"
	}
	g.lastIP = firstIP
	for n := range g.between(0, 6) {
		g.addPod(n)
	}
	for n := range g.between(2, len(g.services)) {
		g.addService(n)
	}
	for n := range one(g, 0, 0, 1, 1, 2, 3) {
		g.addPeerAuthentication(fmt.Sprintf("peer%d", n), true)
	}
	for n := range one(g, 0, 0, 1, 1, 2, 3) {
		g.addRule(fmt.Sprintf("rule%d", n), g.hostOfRule())
	}
	for n := range one(g, 0, 0, 1, 2, 3) {
		g.addEntry(n)
	}
	return g.done()
}

// generateMesh makes a seed's objects of the root namespace: they concern all of the mesh.
func generateMesh(seed uint64, namespaces []string) Generated {
	g := newGenerator(seed, "istio-system", 0, namespaces)
	for n := range one(g, 0, 0, 1, 1, 2) {
		g.addPeerAuthentication(fmt.Sprintf("oracle-peer%d", n), false)
	}
	for n := range one(g, 0, 0, 1, 2, 4) {
		namespace, service := one(g, namespaces...), one(g, g.services...)
		g.addRule(fmt.Sprintf("oracle-rule%d", n), one(g, service+"."+namespace+".svc.cluster.local",
			"*."+namespace+".svc.cluster.local", service+"."+namespace, "*.local", "*.svc.cluster.local", "*"))
	}
	for n := range one(g, 0, 0, 1, 2) {
		g.addGateway(n)
	}
	return g.done()
}

func (g *generator) done() Generated {
	complete := func(objects []Object) []Object {
		var out []Object
		for _, o := range objects {
			out = append(out, Complete(o, g.namespace))
		}
		return out
	}
	return Generated{Objects: complete(g.objects), Terminating: complete(g.doomed)}
}

func (g *generator) add(o Object) { g.objects = append(g.objects, o) }

// ip gives an address that nothing else has.
func (g *generator) ip(v6 bool) string {
	g.lastIP++
	if v6 {
		return fmt.Sprintf("fd00:99::%x:%x", g.network, g.lastIP)
	}
	return fmt.Sprintf("10.99.%d.%d", g.network, g.lastIP)
}

func (g *generator) workloadLabels() map[string]any {
	labels := map[string]any{"app": one(g, "a", "b")}
	if g.chance(80) {
		labels["version"] = one(g, "v1", "v2")
	}
	return labels
}

func (g *generator) addPod(n int) {
	labels := g.workloadLabels()
	if g.chance(5) {
		labels["topology.istio.io/network"] = one(g, "network1", "network2")
	}
	if g.chance(4) {
		labels["istio.io/draining"] = "true"
	}
	if mode := weighted(g, []string{"istio", "", "disabled"}, 7, 2, 1); mode != "" {
		labels["security.istio.io/tlsMode"] = mode
	}
	var ports []any
	if g.chance(80) {
		ports = append(ports, map[string]any{"name": "http", "containerPort": one(g, 8080, 8081)})
	}
	if g.chance(40) {
		ports = append(ports, map[string]any{"name": "grpc", "containerPort": 9090})
	}
	spec := map[string]any{
		"nodeName": one(g, "node1", "node1", "node2", "node3"), "containers": []any{map[string]any{"ports": ports}},
	}
	if g.chance(30) {
		spec["hostname"], spec["subdomain"] = fmt.Sprintf("host%d", n), g.services[0]
	}
	var ips []any
	for _, v6 := range weighted(g, [][]bool{{false}, {false, true}, {true}, {}}, 8, 4, 1, 1) {
		ips = append(ips, map[string]any{"ip": g.ip(v6)})
	}
	ready := "False"
	if g.chance(75) {
		ready = "True"
	}
	status := map[string]any{
		"phase":      weighted(g, []string{"Running", "Pending", "Succeeded", "Failed"}, 20, 2, 1, 1),
		"conditions": []any{map[string]any{"type": "Ready", "status": ready}},
	}
	if ips != nil {
		status["podIPs"] = ips
	}
	pod := Object{
		"kind": "Pod", "metadata": map[string]any{"name": fmt.Sprintf("%spod%d", g.prefix, n), "labels": labels}, "spec": spec,
		"status": status,
	}
	if g.chance(10) {
		g.doomed = append(g.doomed, pod)
	}
	g.pods = append(g.pods, pod)
	g.add(pod)
}

func (g *generator) servicePorts() []any {
	type port struct {
		number   int
		protocol string
	}
	var out []any
	used := map[port]bool{}
	for n := range one(g, 1, 1, 2, 2, 3) {
		at := port{one(g, 80, 443, 8080, 9090, 15443), weighted(g, []string{"TCP", "UDP", "SCTP"}, 17, 2, 1)}
		if used[at] {
			continue
		}
		used[at] = true
		it := map[string]any{"port": at.number, "protocol": at.protocol}
		name := weighted(g, []string{"http", "grpc", "tcp-x", "https", "tls", "web", "udp-y"}, 4, 4, 4, 4, 4, 4, 1)
		if n > 0 {
			name += fmt.Sprintf("-%d", n)
		}
		it["name"] = name
		if target := one[any](g, nil, 8080, "http", "grpc", 9090); target != nil {
			it["targetPort"] = target
		}
		if protocol := one(g, "", "", "", "http", "kubernetes.io/h2c"); protocol != "" {
			it["appProtocol"] = protocol
		}
		out = append(out, it)
	}
	if len(out) == 1 && g.chance(30) {
		delete(out[0].(map[string]any), "name")
	}
	return out
}

func (g *generator) addService(n int) {
	name := g.services[n]
	spec := map[string]any{"ports": g.servicePorts()}
	metadata := map[string]any{"name": name}
	if g.chance(12) {
		metadata["annotations"] = map[string]any{"networking.istio.io/exportTo": one(g, "~", ".", "*", "istio-system",
			g.namespace+",istio-system", "elsewhere", ". ,*", "")}
	}
	if g.chance(10) {
		spec["publishNotReadyAddresses"] = true
	}
	if g.chance(5) {
		spec["internalTrafficPolicy"] = "Local"
	}
	if g.chance(15) {
		spec["ipFamilyPolicy"] = "RequireDualStack"
		spec["ipFamilies"] = one(g, []any{"IPv4", "IPv6"}, []any{"IPv6", "IPv4"})
	}
	selector := map[string]any{"app": one(g, "a", "b")}
	if g.chance(20) {
		selector["version"] = one(g, "v1", "v2")
	}
	spec["selector"] = selector
	service := Object{"kind": "Service", "metadata": metadata, "spec": spec}
	switch weighted(g, []string{"", "headless", "external", "bare", "balanced"}, 11, 4, 1, 3, 1) {
	case "headless":
		spec["clusterIP"] = "None"
	case "balanced":
		spec["type"] = "LoadBalancer"
	case "external":
		service["spec"] = map[string]any{"type": "ExternalName", "externalName": "example.com", "ports": spec["ports"], "selector": selector}
	case "bare":
		delete(spec, "selector")
		if g.chance(30) {
			spec["clusterIP"] = "None"
		}
		for m := range one(g, 0, 1, 1, 2) {
			g.addSlice(name, m, spec["ports"].([]any))
		}
	}
	g.add(service)
}

// addSlice makes a slice as a person or a foreign controller would, for a Service without a selector.
func (g *generator) addSlice(service string, n int, ports []any) {
	v6 := g.chance(17)
	var endpoints []any
	used := map[string]bool{}
	for range g.between(0, 4) {
		endpoint := g.sliceEndpoint(v6)
		if endpoint == nil {
			continue
		}
		ip := endpoint["addresses"].([]any)[0].(string)
		if !used[ip] {
			used[ip] = true
			endpoints = append(endpoints, endpoint)
		}
	}
	var slicePorts []any
	for _, port := range ports {
		if g.chance(90) {
			slicePorts = append(slicePorts, map[string]any{
				"name": text(port, "name"), "protocol": text(port, "protocol"), "port": one(g, 8080, 9090),
			})
		}
	}
	family := "IPv4"
	if v6 {
		family = "IPv6"
	}
	g.add(Object{
		"kind": "EndpointSlice", "addressType": family, "ports": slicePorts, "endpoints": endpoints,
		"metadata": map[string]any{"name": fmt.Sprintf("%s-%d", service, n), "labels": map[string]any{
			"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "oracle",
		}},
	})
}

func (g *generator) sliceEndpoint(v6 bool) map[string]any {
	endpoint := map[string]any{}
	conditions := map[string]any{}
	for _, condition := range []struct {
		name    string
		percent int
	}{{"ready", 80}, {"serving", 80}, {"terminating", 10}} {
		if g.chance(60) {
			conditions[condition.name] = g.chance(condition.percent)
		}
	}
	endpoint["conditions"] = conditions
	if node := one(g, "", "node1", "node2"); node != "" {
		endpoint["nodeName"] = node
	}
	target := ""
	if len(g.pods) > 0 && g.chance(80) {
		pod := one(g, g.pods...)
		ip := ""
		for _, of := range list(pod, "status", "podIPs") {
			if address := text(of, "ip"); slices.Contains([]byte(address), ':') == v6 {
				ip = address
			}
		}
		if ip == "" || text(pod, "status", "phase") != "Running" {
			return nil
		}
		endpoint["addresses"] = []any{ip}
		if g.chance(70) {
			target = pod.Name()
		}
	} else {
		endpoint["addresses"] = []any{g.ip(v6)}
		if g.chance(10) {
			target = "nosuch"
		}
	}
	if target != "" {
		endpoint["targetRef"] = map[string]any{"kind": "Pod", "name": target, "namespace": g.namespace}
	}
	return endpoint
}

func mode(mode string) map[string]any { return map[string]any{"mode": mode} }

func (g *generator) addPeerAuthentication(name string, ports bool) {
	mutual := []string{"UNSET", "DISABLE", "PERMISSIVE", "STRICT"}
	spec := map[string]any{}
	if of := one(g, append(mutual, "")...); of != "" {
		spec["mtls"] = mode(of)
	}
	selector := one(g, nil, map[string]any{"app": "a"}, map[string]any{"app": "b"}, map[string]any{"version": "v1"},
		map[string]any{"app": "a", "version": "v2"}, map[string]any{"topology.kubernetes.io/zone": "z1"})
	if selector != nil {
		spec["selector"] = map[string]any{"matchLabels": selector}
	}
	if ports && selector != nil && g.chance(50) {
		levels := map[string]any{}
		for range g.between(1, 2) {
			levels[fmt.Sprint(one(g, 80, 8080, 8081, 9090))] = mode(one(g, mutual...))
		}
		spec["portLevelMtls"] = levels
	}
	g.add(Object{"kind": "PeerAuthentication", "metadata": map[string]any{"name": name}, "spec": spec})
}

// hostOfRule is a host that a DestinationRule of the namespace may name: one of its own Services, of another
// namespace, or a wildcard.
func (g *generator) hostOfRule() string {
	service, other := one(g, g.services...), one(g, g.namespaces...)
	full := service + "." + g.namespace + ".svc.cluster.local"
	entry := "entry0." + g.namespace + ".mesh.local"
	return one(g, service, full, full, entry, "*."+g.namespace+".mesh.local", "*."+g.namespace+".svc.cluster.local", service+"."+other+".svc.cluster.local",
		service+"."+g.namespace, service+"."+g.namespace+".svc", "*.svc.cluster.local")
}

func (g *generator) addRule(name, host string) {
	modes := []string{"ISTIO_MUTUAL", "DISABLE", "SIMPLE"}
	spec := map[string]any{"host": host}
	var subsets []any
	for n := range one(g, 0, 0, 1, 2) {
		subset := map[string]any{"name": fmt.Sprintf("s%d", n)}
		labels := one(g, nil, map[string]any{"version": "v1"}, map[string]any{"version": "v2"},
			map[string]any{"app": "a", "version": "v1"})
		if g.chance(25) {
			labels = one(g, map[string]any{"topology.istio.io/cluster": "cluster-1"}, map[string]any{"topology.istio.io/cluster": ClusterOfOther},
				map[string]any{"topology.istio.io/network": "network1"}, map[string]any{"topology.kubernetes.io/zone": "z1"},
				map[string]any{"topology.kubernetes.io/region": "r1"}, map[string]any{"kubernetes.io/hostname": "node1"},
				map[string]any{"topology.istio.io/subzone": "s2"})
		}
		if labels != nil {
			subset["labels"] = labels
		}
		if of := one(g, append(modes, "", "")...); of != "" {
			subset["trafficPolicy"] = map[string]any{"tls": mode(of)}
		}
		subsets = append(subsets, subset)
	}
	if subsets != nil {
		spec["subsets"] = subsets
	}
	if export := one(g, "", "", "", ".", "*", "istio-system", g.namespace, "elsewhere", one(g, g.namespaces...)); export != "" {
		spec["exportTo"] = []any{export}
	}
	if policy := g.trafficPolicy(modes); len(policy) > 0 {
		spec["trafficPolicy"] = policy
	}
	g.add(Object{"kind": "DestinationRule", "metadata": map[string]any{"name": name}, "spec": spec})
}

func (g *generator) trafficPolicy(modes []string) map[string]any {
	policy := map[string]any{}
	if of := one(g, append(modes, "", "", "")...); of != "" {
		policy["tls"] = mode(of)
	}
	if g.chance(20) {
		policy["portLevelSettings"] = []any{map[string]any{
			"port": map[string]any{"number": one(g, 80, 443, 8080)}, "tls": mode(one(g, modes...)),
		}}
	}
	// Pools and outlier detection bound connections; they must take no endpoint away.
	if g.chance(15) {
		policy["connectionPool"] = map[string]any{"tcp": map[string]any{"maxConnections": 10, "connectTimeout": "1s"}}
	}
	if g.chance(10) {
		policy["outlierDetection"] = map[string]any{"consecutive5xxErrors": 3, "minHealthPercent": one(g, 0, 50)}
	}
	return policy
}

// workload makes a workload that is no pod: an endpoint of a ServiceEntry, or a WorkloadEntry.
func (g *generator) workload() map[string]any {
	labels := g.workloadLabels()
	if g.chance(70) {
		labels["security.istio.io/tlsMode"] = weighted(g, []string{"istio", "disabled"}, 9, 1)
	}
	if g.chance(4) {
		labels["istio.io/draining"] = "true"
	}
	if g.chance(5) {
		labels["topology.istio.io/network"] = one(g, "network1", "network2")
	}
	it := map[string]any{"address": g.ip(g.chance(15)), "labels": labels}
	if g.chance(30) {
		it["ports"] = map[string]any{one(g, "http", "http", "grpc", "tcp-x"): 7070}
	}
	if g.chance(20) {
		it["serviceAccount"] = "vm"
	}
	if g.chance(10) {
		it["network"] = one(g, "network1", "network2")
	}
	if g.chance(20) {
		it["locality"] = one(g, "r1/z1/s2", "r1/z2", "r2")
	}
	if g.chance(15) {
		it["weight"] = g.between(1, 9)
	}
	return it
}

// addEntry makes a ServiceEntry or a WorkloadEntry.
func (g *generator) addEntry(n int) {
	if g.chance(50) {
		metadata := map[string]any{"name": fmt.Sprintf("%sworkload%d", g.prefix, n)}
		if g.chance(20) {
			metadata["labels"] = g.workloadLabels()
		}
		g.add(Object{"kind": "WorkloadEntry", "metadata": metadata, "spec": g.workload()})
		return
	}
	var ports []any
	for m, name := range one(g, []string{"http"}, []string{"http"}, []string{"grpc", "tcp-x"}) {
		port := map[string]any{"number": 80 + m, "name": name, "protocol": weighted(g, []string{"HTTP", "TCP", "UDP"}, 5, 4, 1)}
		if g.chance(30) {
			port["targetPort"] = one(g, 8080, 9090)
		}
		ports = append(ports, port)
	}
	resolution := one(g, "STATIC", "STATIC", "STATIC", "DNS")
	hosts := []any{one(g, fmt.Sprintf("entry%d.%s.mesh.local", n, g.namespace), g.services[0]+"."+g.namespace+".svc.cluster.local",
		fmt.Sprintf("entry%d.%s.mesh.local", n, g.namespace), fmt.Sprintf("entry%d.%s.example.com", n, g.namespace))}
	if g.chance(15) {
		hosts = append(hosts, fmt.Sprintf("more%d.%s.mesh.local", n, g.namespace))
	}
	spec := map[string]any{
		"hosts": hosts, "ports": ports, "resolution": resolution,
		"location": one(g, "MESH_INTERNAL", "MESH_INTERNAL", "MESH_INTERNAL", "MESH_EXTERNAL"),
	}
	if g.chance(20) {
		spec["exportTo"] = []any{one(g, ".", "*", "istio-system", g.namespace, "~", "elsewhere")}
	}
	switch {
	case resolution == "DNS":
		spec["endpoints"] = []any{map[string]any{"address": "vm.example.com"}}
	case g.chance(50):
		spec["workloadSelector"] = map[string]any{"labels": map[string]any{"app": one(g, "a", "b")}}
	default:
		var endpoints []any
		for range g.between(1, 3) {
			endpoints = append(endpoints, g.workload())
		}
		spec["endpoints"] = endpoints
	}
	g.add(Object{"kind": "ServiceEntry", "metadata": map[string]any{"name": fmt.Sprintf("entry%d", n)}, "spec": spec})
}

// addGateway makes one of Istio's Gateways that changes nothing for the names of port 15443: it is for another
// workload, for another port, or for names that are routed already.
func (g *generator) addGateway(n int) {
	server := func(port int, protocol, tls string, hosts ...any) map[string]any {
		it := map[string]any{"port": map[string]any{"number": port, "name": "more", "protocol": protocol}, "hosts": hosts}
		if tls != "" {
			it["tls"] = mode(tls)
		}
		return it
	}
	ours, other := "eastwestgateway", "ingressgateway"
	namespace := one(g, g.namespaces...)
	kinds := []struct {
		workload string
		server   map[string]any
	}{
		{other, server(15443, "TLS", "AUTO_PASSTHROUGH", "*.example.com")},
		{ours, server(15444, "TLS", "PASSTHROUGH", "*.example.com")},
		{ours, server(8080, "HTTP", "", "*")},
		{ours, server(15443, "TLS", "AUTO_PASSTHROUGH", "*."+namespace+".svc.cluster.local")},
	}
	it := one(g, kinds...)
	g.add(Object{"kind": "Gateway", "metadata": map[string]any{"name": fmt.Sprintf("oracle-gateway%d", n)}, "spec": map[string]any{
		"selector": map[string]any{"istio": it.workload}, "servers": []any{it.server},
	}})
}
