package oracle

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Class is a kind of difference between istiod and strait that is known.
type Class struct {
	Name string `json:"name"`
	// The decision: policy, if strait is meant to differ; missing, if strait is to do as istiod does one day.
	Decision string `json:"decision"`
	// The reason why strait differs.
	Reason string `json:"reason"`
}

//go:embed differences.yaml
var differencesFile []byte

// Classes reads differences.yaml.
func Classes() ([]Class, error) {
	var out []Class
	if err := yaml.UnmarshalStrict(differencesFile, &out); err != nil {
		return nil, fmt.Errorf("differences.yaml: %w", err)
	}
	for _, class := range out {
		if class.Reason == "" || (class.Decision != "policy" && class.Decision != "missing") {
			return nil, fmt.Errorf("differences.yaml: %s needs a reason, and the decision policy or missing", class.Name)
		}
	}
	return out, nil
}

// Unknown is the class of a difference that nothing explains.
const Unknown = "unknown"

// Difference is a name for which the two sides have other endpoints, or that only one of them has.
type Difference struct {
	Name string
	// Nil if the side does not have the name.
	Istiod, Strait []string
	// The classes that explain it together; `Unknown` if one of its endpoints is not explained.
	Classes []string
}

// Compare gives the names that differ, in their order. `other` are the objects of the second cluster, if there is one.
func Compare(istiod, strait Names, objects, other []Object) []Difference {
	all := map[string]bool{}
	for name := range istiod {
		all[name] = true
	}
	for name := range strait {
		all[name] = true
	}
	it := newContext(objects)
	if other != nil {
		second := newContext(other)
		it.other = &second
	}
	var out []Difference
	for _, name := range sortedNames(all) {
		theirs, known := istiod[name]
		ours, knownToo := strait[name]
		if known && knownToo && slices.Equal(theirs, ours) {
			continue
		}
		differs := Difference{Name: name, Istiod: theirs, Strait: ours}
		differs.Classes = it.classify(differs)
		out = append(out, differs)
	}
	return out
}

// context is a cluster's objects, by what the classes ask for.
type context struct {
	objects []Object
	byKey   map[Key]Object
	// The objects of the second cluster.
	other *context
}

func newContext(objects []Object) context {
	it := context{objects: objects, byKey: map[Key]Object{}}
	for _, o := range objects {
		it.byKey[o.Key()] = o
	}
	return it
}

func (c context) in(kind, namespace string) []Object {
	return slices.DeleteFunc(stage(c.objects, []string{kind}), func(o Object) bool { return o.Namespace() != namespace })
}

// classify explains a difference.
func (c context) classify(differs Difference) []string {
	port, subset, host := parts(differs.Name)
	of, isService := strings.CutSuffix(host, ".svc.cluster.local")
	labels := strings.Split(of, ".")
	if !isService {
		return c.ofEntry(differs, host)
	}
	if differs.Istiod == nil && len(labels) == 3 {
		return []string{"headless-pod-names"}
	}
	if len(labels) != 2 {
		return []string{Unknown}
	}
	key := Key{"Service", labels[1], labels[0]}
	service := c.byKey[key]
	if service == nil && c.other != nil {
		service = c.other.byKey[key]
	}
	number, err := strconv.Atoi(port)
	if service == nil || err != nil {
		return []string{Unknown}
	}
	var names, protocols []string
	for _, it := range list(service, "spec", "ports") {
		if at(it, "port") == float64(number) {
			names, protocols = append(names, text(it, "name")), append(protocols, text(it, "protocol"))
		}
	}
	switch {
	case slices.Contains(protocols, "SCTP"):
		return []string{"sctp-port"}
	case differs.Istiod == nil && slices.ContainsFunc(names, func(name string) bool { return name == "udp" || strings.HasPrefix(name, "udp-") }):
		return []string{"tcp-port-named-udp"}
	case differs.Istiod == nil && subset != "" && c.rootLeftOut():
		return []string{"root-namespace-left-out"}
	case differs.Istiod == nil || differs.Strait == nil:
		return []string{Unknown}
	}
	classes := map[string]bool{}
	for side, addresses := range map[string][]string{"istiod": less(differs.Istiod, differs.Strait), "strait": less(differs.Strait, differs.Istiod)} {
		for _, address := range addresses {
			classes[c.of(address).explain(service, names, side, address)] = true
		}
	}
	return slices.Sorted(maps.Keys(classes))
}

// ofEntry explains a difference of a host that is no Service's.
func (c context) ofEntry(differs Difference, host string) []string {
	if differs.Istiod == nil || differs.Strait == nil {
		return []string{Unknown}
	}
	namespace := ""
	for _, entry := range stage(c.objects, []string{"ServiceEntry"}) {
		if slices.Contains(list(entry, "spec", "hosts"), any(host)) {
			namespace = entry.Namespace()
		}
	}
	classes := map[string]bool{}
	for _, address := range append(less(differs.Istiod, differs.Strait), less(differs.Strait, differs.Istiod)...) {
		parsed, err := netip.ParseAddrPort(address)
		if err != nil {
			classes["service-entry-by-dns"] = true
			continue
		}
		ip := parsed.Addr().String()
		it := c.of(address)
		switch pods, _ := it.at(namespace, ip); {
		case c.sharesName(it, namespace, ip) && slices.Contains(differs.Strait, address):
			classes["one-name-in-two-clusters"] = true
		case len(pods) == 0 && !it.known(ip) && slices.Contains(differs.Istiod, address):
			classes["selected-workload-outdated"] = true
		case len(pods) == 0 && slices.ContainsFunc(it.in("EndpointSlice", namespace), func(of Object) bool { return lists(of, ip) }):
			classes["slice-with-other-address"] = true
		case len(pods) == 0:
			classes[Unknown] = true
		case slices.ContainsFunc(it.in("EndpointSlice", namespace), func(of Object) bool { return names(of, ip, pods[0]) }):
			classes["container-port-of-entry"] = true
		default:
			classes["selected-pod-of-no-service"] = true
		}
	}
	return slices.Sorted(maps.Keys(classes))
}

// sharesName says whether the pod or WorkloadEntry of a cluster that has an address has the name of one in the other cluster.
func (c context) sharesName(it context, namespace, ip string) bool {
	if c.other == nil {
		return false
	}
	pods, _ := it.at(namespace, ip)
	for _, o := range it.in("WorkloadEntry", namespace) {
		if text(o, "spec", "address") == ip {
			pods = append(pods, o)
		}
	}
	workloads := func(of context) []Object {
		return append(of.in("Pod", namespace), of.in("WorkloadEntry", namespace)...)
	}
	return slices.ContainsFunc(pods, func(one Object) bool {
		same := func(o Object) bool { return o.Name() == one.Name() }
		return slices.ContainsFunc(workloads(c), same) && slices.ContainsFunc(workloads(*c.other), same)
	})
}

// known says whether a workload that is no pod has an address.
func (c context) known(ip string) bool {
	return slices.ContainsFunc(stage(c.objects, []string{"WorkloadEntry", "ServiceEntry"}), func(o Object) bool {
		return text(o, "spec", "address") == ip || slices.ContainsFunc(list(o, "spec", "endpoints"), func(endpoint any) bool {
			return text(endpoint, "address") == ip
		})
	})
}

// lists says whether a slice has an address.
func lists(slice Object, ip string) bool {
	return slices.ContainsFunc(list(slice, "endpoints"), func(endpoint any) bool {
		return slices.Contains(list(endpoint, "addresses"), any(ip))
	})
}

// names says whether a slice has an address and says that it is a pod's.
func names(slice Object, ip string, pod Object) bool {
	return slices.ContainsFunc(list(slice, "endpoints"), func(endpoint any) bool {
		return slices.Contains(list(endpoint, "addresses"), any(ip)) && text(endpoint, "targetRef", "name") == pod.Name()
	})
}

// of gives the cluster that has something at an address: the first one, unless only the second one has.
func (c context) of(address string) context {
	if c.other != nil && !c.mentions(address) && c.other.mentions(address) {
		return *c.other
	}
	return c
}

// mentions says whether a pod, a slice or an entry has an address with its port.
func (c context) mentions(address string) bool {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return false
	}
	ip := parsed.Addr().String()
	return c.known(ip) || slices.ContainsFunc(c.objects, func(o Object) bool {
		switch o.Kind() {
		case "Pod":
			return slices.ContainsFunc(list(o, "status", "podIPs"), func(one any) bool { return text(one, "ip") == ip })
		case "EndpointSlice":
			return lists(o, ip)
		}
		return false
	})
}

// less gives the elements of a that b does not have as often.
func less(a, b []string) []string {
	left := slices.Clone(b)
	var out []string
	for _, it := range a {
		if n := slices.Index(left, it); n >= 0 {
			left = slices.Delete(left, n, n+1)
		} else {
			out = append(out, it)
		}
	}
	return out
}

// place is an endpoint of a slice of the Service.
type place struct {
	slice    Object
	endpoint any
}

// pod is the name of the pod that the endpoint names.
func (p place) pod() string { return text(p.endpoint, "targetRef", "name") }

// explain gives the class of one address that only one side has.
func (c context) explain(service Object, portNames []string, side, address string) string {
	if strings.HasPrefix(address, "pipe:") {
		return "slice-port-without-number"
	}
	if strings.Contains(address, ",") {
		return "second-family"
	}
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return Unknown
	}
	ip := parsed.Addr().String()
	pods, entries := c.at(service.Namespace(), ip)
	places := c.places(service, ip)
	is := func(check func(place) bool) bool { return slices.ContainsFunc(places, check) }
	all := func(check func(place) bool) bool {
		return len(places) > 0 && !is(func(p place) bool { return !check(p) })
	}
	ofIstiod := side == "istiod"
	switch {
	case ofIstiod && !entries && len(pods)+len(places) == 0 && len(c.in("WorkloadEntry", service.Namespace())) > 0:
		return "selected-workload-outdated"
	case !ofIstiod && entries && len(portNames) > 1:
		return "workload-entry-of-two-protocols"
	case ofIstiod && is(func(p place) bool { return list(p.endpoint, "addresses")[0] != ip }):
		return "second-address-of-endpoint"
	case ofIstiod && slices.Contains([]string{"UDP", "SCTP"}, c.portProtocol(places, portNames, int(parsed.Port()))):
		return "slice-port-protocol"
	case ofIstiod && is(func(p place) bool {
		of := text(p.endpoint, "targetRef", "namespace")
		return p.pod() != "" && of != "" && of != service.Namespace()
	}):
		return "pod-of-another-namespace"
	case !ofIstiod && is(isLeaving):
		return "terminating-pod-that-serves"
	case len(pods) > 1 || len(c.withPort(places, portNames)) > 1:
		return "one-address-twice"
	case len(pods) > 0 && !slices.ContainsFunc(c.withPort(places, portNames), func(p place) bool { return p.pod() != "" }):
		return "slice-without-pod"
	case ofIstiod && all(c.isStale):
		return "pod-is-gone"
	case c.twoFamilies(service, pods):
		return "second-family"
	case !ofIstiod && text(service, "spec", "internalTrafficPolicy") == "Local":
		return "internal-traffic-policy"
	case ofIstiod && c.rootLeftOut():
		return "root-namespace-left-out"
	case c.namesOtherNode(places):
		return "slice-names-other-node"
	}
	return Unknown
}

// isLeaving says whether an endpoint terminates and still serves.
func isLeaving(p place) bool {
	is := func(condition string) bool { return at(p.endpoint, "conditions", condition) == true }
	return is("terminating") && is("serving") && !is("ready")
}

// isStale says whether no pod has the address of an endpoint, or not the pod that it names.
func (c context) isStale(p place) bool {
	pods, _ := c.at(p.slice.Namespace(), list(p.endpoint, "addresses")[0].(string))
	return !slices.ContainsFunc(pods, func(pod Object) bool { return p.pod() == "" || p.pod() == pod.Name() })
}

// namesOtherNode says whether an endpoint has another node than its pod.
func (c context) namesOtherNode(places []place) bool {
	return slices.ContainsFunc(places, func(p place) bool {
		pod := c.byKey[Key{"Pod", p.slice.Namespace(), p.pod()}]
		return pod != nil && text(p.endpoint, "nodeName") != text(pod, "spec", "nodeName")
	})
}

// at gives the pods of the namespace that have an address, and whether a WorkloadEntry has it.
func (c context) at(namespace, ip string) (pods []Object, entry bool) {
	for _, pod := range c.in("Pod", namespace) {
		for _, one := range list(pod, "status", "podIPs") {
			if text(one, "ip") == ip {
				pods = append(pods, pod)
			}
		}
	}
	for _, o := range c.in("WorkloadEntry", namespace) {
		entry = entry || text(o, "spec", "address") == ip
	}
	return pods, entry
}

// places gives the endpoints of the Service that have an address.
func (c context) places(service Object, ip string) (found []place) {
	for _, slice := range c.in("EndpointSlice", service.Namespace()) {
		if slice.Label("kubernetes.io/service-name") != service.Name() {
			continue
		}
		for _, endpoint := range list(slice, "endpoints") {
			if slices.Contains(list(endpoint, "addresses"), any(ip)) {
				found = append(found, place{slice, endpoint})
			}
		}
	}
	return found
}

// withPort gives the places whose slice has a port with one of the names.
func (c context) withPort(places []place, names []string) []place {
	return slices.DeleteFunc(slices.Clone(places), func(p place) bool {
		return !slices.ContainsFunc(list(p.slice, "ports"), func(port any) bool { return slices.Contains(names, text(port, "name")) })
	})
}

// portProtocol is the protocol of the slices' port that has a name and a number.
func (c context) portProtocol(places []place, names []string, number int) string {
	for _, place := range places {
		for _, port := range list(place.slice, "ports") {
			if at(port, "port") == float64(number) && slices.Contains(names, text(port, "name")) {
				return text(port, "protocol")
			}
		}
	}
	return ""
}

// twoFamilies says whether a pod has addresses of both families, and the Service slices of both.
func (c context) twoFamilies(service Object, pods []Object) bool {
	families := map[any]bool{}
	for _, slice := range c.in("EndpointSlice", service.Namespace()) {
		if slice.Label("kubernetes.io/service-name") == service.Name() {
			families[slice["addressType"]] = true
		}
	}
	return len(families) == 2 && len(pods) == 1 && len(list(pods[0], "status", "podIPs")) == 2
}

// rootLeftOut says whether the mesh's discoverySelectors do not select its root namespace.
func (c context) rootLeftOut() bool {
	settings := c.byKey[Key{"ConfigMap", "istio-system", "istio"}]
	mesh := text(settings, "data", "mesh")
	return strings.Contains(mesh, "discoverySelectors") && strings.Contains(mesh, "rootNamespace")
}

// About gives the objects that a name may depend on: those of its namespace, and those of Istio's.
func About(objects []Object, name string) []string {
	_, _, host := parts(name)
	labels := strings.Split(strings.TrimSuffix(host, ".svc.cluster.local"), ".")
	namespace := labels[len(labels)-1]
	for _, entry := range stage(objects, []string{"ServiceEntry"}) {
		if slices.Contains(list(entry, "spec", "hosts"), any(host)) {
			namespace = entry.Namespace()
		}
	}
	var out []string
	for _, o := range objects {
		if o.Namespace() == namespace || o.Namespace() == "istio-system" {
			content, _ := json.Marshal(o)
			out = append(out, string(content))
		}
	}
	return out
}
