//go:build istiod

package migration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"strait.dev/tests/cluster/node"
)

// host is the Service that is called, and caller the identity that may call it.
const (
	host   = "svcb.apps.svc.cluster.local"
	caller = "spiffe://cluster.local/ns/shop/sa/client"
)

// workloads are the caller on network2, and the called Service on network1 with two versions. Only mutual TLS is let in,
// and only that of the caller. The caller's namespace has a rule of its own, which no gateway sees.
const workloads = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: only-client, namespace: apps }
spec: { rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/client] } }] }] }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: client, namespace: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: svcb, namespace: apps }
---
apiVersion: v1
kind: Service
metadata: { name: svcb, namespace: apps }
spec:
  selector: { app: svcb }
  ports:
    - { name: http, port: 80, targetPort: 8080 }
    - { name: http2, port: 81, targetPort: 8081, appProtocol: kubernetes.io/h2c }
    - { name: tcp, port: 9000, targetPort: 9000 }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: svcb, namespace: apps }
spec:
  host: svcb.apps.svc.cluster.local
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: svcb, namespace: shop }
spec:
  host: svcb.apps.svc.cluster.local
  exportTo: ["."]
  trafficPolicy: { connectionPool: { tcp: { maxConnectionDuration: 15s } } }
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: svcb, namespace: apps }
spec:
  hosts: [svcb.apps.svc.cluster.local]
  http:
    - match: [{ headers: { version: { exact: v2 } } }]
      route: [{ destination: { host: svcb.apps.svc.cluster.local, subset: v2 } }]
    - route: [{ destination: { host: svcb.apps.svc.cluster.local } }]
`

// workloadPod is the YAML of a pod with a sidecar.
func workloadPod(namespace, name, account, image, network, version string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: %s
  labels: { app: %s, version: %s, topology.istio.io/network: %s, security.istio.io/tlsMode: istio }
spec:
  serviceAccountName: %s
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 5
  containers:
    - name: istio-proxy
      image: %s
      ports: [{ containerPort: 8080 }, { containerPort: 8081 }, { containerPort: 9000 }]
      readinessProbe: { httpGet: { path: /healthz/ready, port: 15021 }, periodSeconds: 15, failureThreshold: 4 }
`, name, namespace, account, version, network, account, image)
}

// seen is the answer of a server to a request.
type seen struct{ Pod, Protocol, From string }

// serve answers in a pod: HTTP on 8080 and 8081, and lines on 9000.
func serve(pod *node.Pod) error {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(2 * time.Second)
		}
		_ = json.NewEncoder(w).Encode(seen{Pod: pod.Name, Protocol: r.Proto, From: r.Header.Get("X-Forwarded-Client-Cert")})
	})
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	for _, port := range []int{8080, 8081} {
		listener, err := pod.Listen(port)
		if err != nil {
			return err
		}
		go func() { _ = (&http.Server{Handler: handler, Protocols: &protocols}).Serve(listener) }()
	}
	listener, err := pod.Listen(9000)
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				for lines := bufio.NewScanner(connection); lines.Scan(); {
					if _, err := fmt.Fprintf(connection, "%s %s\n", pod.Name, lines.Text()); err != nil {
						return
					}
				}
			}()
		}
	}()
	return nil
}

// kind is one kind of call, made again and again by some callers at a time.
type kind struct {
	name    string
	callers int
	pause   time.Duration
	call    func() error

	mutex  sync.Mutex
	total  int
	failed []string
}

// traffic is all kinds of call from one pod.
type traffic struct {
	kinds []*kind
	stop  chan struct{}
	done  sync.WaitGroup
}

func (k *kind) run(stop chan struct{}, begin time.Time) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(k.pause):
		}
		at := time.Now()
		err := k.call()
		k.mutex.Lock()
		k.total++
		if err != nil {
			k.failed = append(k.failed, fmt.Sprintf("%s, begun %.3f s after the first, %.3f s long: %v", k.name, at.Sub(begin).Seconds(), time.Since(at).Seconds(), err))
		}
		k.mutex.Unlock()
	}
}

// calls makes the kinds of call from a pod to a Service's address. None is repeated by the caller itself.
func calls(from *node.Space, address string) *traffic {
	web := func(http2 bool) *http.Client {
		var protocols http.Protocols
		protocols.SetHTTP1(!http2)
		protocols.SetUnencryptedHTTP2(http2)
		return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: from.Dial, Protocols: &protocols}}
	}
	get := func(client *http.Client, port int, path, version, protocol string) error {
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s:%d%s", address, port, path), nil)
		if err != nil {
			return err
		}
		request.Host = fmt.Sprintf("%s:%d", host, port)
		if version != "" {
			request.Header.Set("version", version)
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %s (flags %q)", response.StatusCode, body, response.Header)
		}
		var answer seen
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		if !strings.Contains(answer.From, "URI="+caller) || answer.Protocol != protocol || !strings.HasPrefix(answer.Pod, "svcb-"+version) {
			return fmt.Errorf("an answer of another: %+v", answer)
		}
		return nil
	}
	first, second := web(false), web(true)
	all := &traffic{stop: make(chan struct{}), kinds: []*kind{
		{name: "HTTP/1.1", callers: 4, pause: 50 * time.Millisecond, call: func() error { return get(first, 80, "/", "", "HTTP/1.1") }},
		{name: "HTTP/1.1 to a subset", callers: 4, pause: 50 * time.Millisecond, call: func() error { return get(first, 80, "/", "v2", "HTTP/1.1") }},
		{name: "HTTP/1.1 for 2 s", callers: 4, pause: 100 * time.Millisecond, call: func() error { return get(first, 80, "/slow", "", "HTTP/1.1") }},
		{name: "HTTP/2", callers: 4, pause: 50 * time.Millisecond, call: func() error { return get(second, 81, "/", "", "HTTP/2.0") }},
		{name: "HTTP/2 for 2 s", callers: 4, pause: 100 * time.Millisecond, call: func() error { return get(second, 81, "/slow", "", "HTTP/2.0") }},
		{name: "TCP", callers: 2, pause: 50 * time.Millisecond, call: func() error { return talk(from, address, 1, 0) }},
		{name: "TCP for 5 s", callers: 4, pause: 100 * time.Millisecond, call: func() error { return talk(from, address, 50, 100*time.Millisecond) }},
	}}
	begin := time.Now()
	for _, one := range all.kinds {
		for range one.callers {
			all.done.Go(func() { one.run(all.stop, begin) })
		}
	}
	return all
}

// talk sends lines over one connection, with a pause after each, and checks the answers.
func talk(from *node.Space, address string, lines int, pause time.Duration) error {
	connection, err := from.Dial(context.Background(), "tcp", net.JoinHostPort(address, "9000"))
	if err != nil {
		return err
	}
	defer connection.Close()
	answers := bufio.NewReader(connection)
	for n := range lines {
		_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprintf(connection, "line %d\n", n); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if !strings.HasPrefix(answer, "svcb-") || !strings.HasSuffix(answer, fmt.Sprintf(" line %d\n", n)) {
			return fmt.Errorf("line %d: an answer of another: %q", n, answer)
		}
		time.Sleep(pause)
	}
	return nil
}

// counts are the calls of each kind so far.
func (c *traffic) counts() map[string]int {
	out := map[string]int{}
	for _, one := range c.kinds {
		one.mutex.Lock()
		out[one.name] = one.total
		one.mutex.Unlock()
	}
	return out
}

// takeFailed returns the failures since the last time.
func (c *traffic) takeFailed() []string {
	var out []string
	for _, one := range c.kinds {
		one.mutex.Lock()
		out = slices.Concat(out, one.failed)
		one.failed = nil
		one.mutex.Unlock()
	}
	return out
}

// end ends the calls after the present ones.
func (c *traffic) end() {
	close(c.stop)
	c.done.Wait()
}

// refusesPlainText fails unless a pod refuses a call without mutual TLS, as STRICT asks.
func refusesPlainText(t *testing.T, pod *node.Pod) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + net.JoinHostPort(pod.IP, "8080"))
	switch {
	case err == nil:
		response.Body.Close()
		t.Errorf("%s answers without mutual TLS: %s", pod.Name, response.Status)
	case !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF):
		// A pod that is away, or does not answer, refuses nothing.
		t.Errorf("%s: not refused, but: %v", pod.Name, err)
	}
}
