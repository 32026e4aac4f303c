//go:build istiod

package migration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"strait.dev/tests/cluster/node"
)

// The names that the calls have at a gateway, one for each port and subset, and what strait's metrics call their routes.
var names = map[string]string{
	"outbound_.80_._." + host: host + ":80", "outbound_.80_.v2_." + host: host + ":80/v2",
	"outbound_.81_._." + host: host + ":81", "outbound_.9000_._." + host: host + ":9000",
}

// gateways are the pods of both Deployments that run.
func gateways(kubelet *node.Kubelet) (istio, strait []*node.Pod) {
	for _, pod := range kubelet.Pods() {
		switch {
		case strings.HasPrefix(pod.Name, istioName+"-"):
			istio = append(istio, pod)
		case strings.HasPrefix(pod.Name, "strait-eastwest-"):
			strait = append(strait, pod)
		}
	}
	return istio, strait
}

// passed are the connections that gateways have passed on, by name.
type passed map[string]int

// since is the difference to earlier numbers.
func (p passed) since(before passed) passed {
	out := passed{}
	for name, count := range p {
		out[name] = count - before[name]
	}
	return out
}

func (p passed) sum() (all int) {
	for _, count := range p {
		all += count
	}
	return all
}

// fetch asks an HTTP server of a pod, at an address that only the pod itself may reach.
func fetch(t *testing.T, pod *node.Pod, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return pod.Dial(ctx, network, address)
	}}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatalf("%s: %v", pod.Name, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: %v", pod.Name, err)
	}
	return string(body)
}

var envoyCount = regexp.MustCompile(`(?m)^(outbound_\.\S+?)::[0-9.]+:[0-9]+::cx_total::([0-9]+)$`)

// passedByIstio adds up Envoy's counts of connections to endpoints.
func passedByIstio(t *testing.T, pods []*node.Pod) passed {
	t.Helper()
	out := passed{}
	for _, pod := range pods {
		for _, found := range envoyCount.FindAllStringSubmatch(fetch(t, pod, "http://127.0.0.1:15000/clusters"), -1) {
			count, _ := strconv.Atoi(found[2])
			out[found[1]] += count
		}
	}
	return out
}

var straitCount = regexp.MustCompile(`(?m)^strait_connections_opened_total\{.*route="([^"]*)".*\} ([0-9]+)$`)

// passedByStrait adds up strait's counts of routed connections.
func passedByStrait(t *testing.T, pods []*node.Pod) passed {
	t.Helper()
	out := passed{}
	for _, pod := range pods {
		for _, found := range straitCount.FindAllStringSubmatch(fetch(t, pod, "http://127.0.0.1:15090/metrics"), -1) {
			count, _ := strconv.Atoi(found[2])
			for name, route := range names {
				if found[1] == route {
					out[name] += count
				}
			}
		}
	}
	return out
}

// outcomes counts the lines of strait's access log by outcome and flags.
func outcomes(t *testing.T, pods map[string]string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for name, path := range pods {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for line := range strings.Lines(string(text)) {
			var entry struct {
				Outcome string `json:"outcome"`
				EndedBy string `json:"ended_by"`
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Outcome != "" {
				out[fmt.Sprintf("%s by %s", entry.Outcome, entry.EndedBy)]++
			}
		}
	}
	return out
}
