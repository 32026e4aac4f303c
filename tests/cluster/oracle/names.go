package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Names holds the endpoints of every outbound_ name, in lower case: clients and Envoy do not tell case apart. A name
// that is not in it has no route.
type Names map[string][]string

// Add sets the endpoints of a name.
func (n Names) Add(name string, endpoints []string) {
	sorted := append([]string{}, endpoints...)
	slices.Sort(sorted)
	n[strings.ToLower(name)] = sorted
}

// parts cuts an outbound_ name into its port, subset and host.
func parts(name string) (port, subset, host string) {
	all := strings.SplitN(name, "_.", 4)
	if len(all) != 4 {
		return "", "", name
	}
	return all[1], all[2], all[3]
}

// Of gives the names of hosts in some namespaces, and those of hosts that are no Kubernetes Services.
func (n Names) Of(namespaces []string) Names {
	out := Names{}
	for name, endpoints := range n {
		_, _, host := parts(name)
		of, isService := strings.CutSuffix(host, ".svc.cluster.local")
		namespace := of[strings.LastIndex(of, ".")+1:]
		if !isService || slices.Contains(namespaces, namespace) {
			out[name] = endpoints
		}
	}
	return out
}

// Strait is a running strait, seen through its admin server.
type Strait struct {
	// The URL of the admin server.
	URL string
}

// get reads a page as JSON.
func (s Strait) get(path string) (Object, error) {
	client := http.Client{Timeout: 20 * time.Second}
	response, err := client.Get(s.URL + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var out Object
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

// Names gives the endpoints of every outbound_ name that strait routes.
func (s Strait) Names() (Names, error) {
	upstreams, err := s.get("/upstreams")
	if err != nil {
		return nil, err
	}
	endpoints := map[string][]string{}
	for _, upstream := range list(upstreams, "upstreams") {
		of := []string{}
		for _, endpoint := range list(upstream, "endpoints") {
			of = append(of, text(endpoint, "address"))
		}
		endpoints[text(upstream, "name")] = of
	}
	dump, err := s.get("/config_dump")
	if err != nil {
		return nil, err
	}
	out := Names{}
	for _, listener := range list(dump, "config", "listeners") {
		for _, route := range list(listener, "routes") {
			name, found := outboundName(route)
			if !found {
				continue
			}
			target, err := target(route)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			// Between the two pages a new upstream may appear, which has no endpoints yet.
			out.Add(name, endpoints[target])
		}
	}
	return out, nil
}

// outboundName gives the outbound_ name that a route of a Service, of a subset or of pods matches; * stands for the names
// of pods.
func outboundName(route any) (string, bool) {
	if pods := at(route, "matches", "pods"); pods != nil {
		return fmt.Sprintf("outbound_.%d_._.*.%s", number(pods, "port"), text(pods, "host")), true
	}
	for kind, key := range map[string]string{"service": "host", "subset": "subset"} {
		if text(route, "matches", kind, key) != "" {
			match := at(route, "matches", kind)
			return fmt.Sprintf("outbound_.%d_.%s_.%s", number(match, "port"), text(match, "subset"), text(match, "host")), true
		}
	}
	return "", false
}

// target is the upstream of a discovered route, which has only one.
func target(route any) (string, error) {
	targets := list(route, "targets")
	if len(targets) != 1 {
		return "", errors.New("not one target")
	}
	return text(targets[0], "upstream"), nil
}
