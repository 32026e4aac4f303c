package conformance

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/gateway-api/conformance/echo-basic/tcpserver"
	"sigs.k8s.io/gateway-api/conformance/utils/roundtripper"
)

// pods make the pods of the suite's Deployments run: each gets a node, an address and the condition Ready. Backends with a
// certificate answer TLS at their address as the suite's own image, echo-basic, does. The others have no server: no test of a
// gateway for TLS asks them.
type pods struct {
	client  kubernetes.Interface
	started map[types.UID]bool
}

// tlsPort is the port of TLS backends. The base manifests name 8443, which the rig's own echo server may have.
const tlsPort = 18443

// run starts pods until the test ends.
func (p *pods) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Add(1)
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	go func() {
		defer running.Done()
		for ctx.Err() == nil {
			if err := p.startNew(ctx); err != nil && ctx.Err() == nil {
				t.Logf("pods: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
}

func (p *pods) startNew(ctx context.Context) error {
	list, err := p.client.CoreV1().Pods("").List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, pod := range list.Items {
		switch known := p.started[pod.UID]; {
		case !strings.HasPrefix(pod.Namespace, "gateway-conformance-"):
		case pod.DeletionTimestamp != nil:
			// There is no kubelet that would end it.
			now := int64(0)
			options := meta.DeleteOptions{GracePeriodSeconds: &now}
			_ = p.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, options)
		case !known:
			address := fmt.Sprintf("10.100.77.%d", len(p.started)+1)
			switch err := p.start(ctx, &pod, address); {
			case apierrors.IsNotFound(err):
				// The suite makes the Secrets of pods after the pods.
			case err != nil:
				return fmt.Errorf("%s/%s: %w", pod.Namespace, pod.Name, err)
			default:
				p.started[pod.UID] = true
			}
		}
	}
	return nil
}

// start runs the server of a pod, if it has one, and says that the pod runs.
func (p *pods) start(ctx context.Context, pod *core.Pod, address string) error {
	listener, err := p.serve(ctx, pod, address)
	if err != nil {
		return err
	}
	err = p.announce(ctx, pod, address)
	switch {
	case listener == nil:
	case err != nil:
		_ = listener.Close()
	default:
		context.AfterFunc(ctx, func() { _ = listener.Close() })
	}
	return err
}

// announce gives a pod its node, its address and the condition Ready.
func (p *pods) announce(ctx context.Context, pod *core.Pod, address string) error {
	api := p.client.CoreV1().Pods(pod.Namespace)
	if pod.Spec.NodeName == "" {
		binding := &core.Binding{
			ObjectMeta: meta.ObjectMeta{Name: pod.Name},
			Target:     core.ObjectReference{Kind: "Node", Name: "node-0"},
		}
		if err := api.Bind(ctx, binding, meta.CreateOptions{}); err != nil {
			return err
		}
	}
	status := core.PodStatus{
		Phase: core.PodRunning, PodIP: address, PodIPs: []core.PodIP{{IP: address}},
		Conditions: []core.PodCondition{
			{Type: core.ContainersReady, Status: core.ConditionTrue},
			{Type: core.PodReady, Status: core.ConditionTrue},
		},
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = api.Patch(ctx, pod.Name, types.MergePatchType, patch, meta.PatchOptions{}, "status")
	return err
}

// serve starts the TLS server of a pod whose container has a certificate; otherwise it returns nil.
func (p *pods) serve(ctx context.Context, pod *core.Pod, address string) (net.Listener, error) {
	environment := map[string]bool{}
	for _, variable := range pod.Spec.Containers[0].Env {
		environment[variable.Name] = true
	}
	volume := slices.IndexFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Secret != nil })
	if !environment["TLS_SERVER_CERT"] || volume < 0 {
		return nil, nil
	}
	secret, err := p.client.CoreV1().Secrets(pod.Namespace).Get(ctx, pod.Spec.Volumes[volume].Secret.SecretName, meta.GetOptions{})
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(secret.Data[core.TLSCertKey], secret.Data[core.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, tlsPort))
	if err != nil {
		return nil, err
	}
	if environment["TCP_ECHO_SERVER"] {
		go acceptLines(tls.NewListener(listener, config), pod)
	} else {
		config.NextProtos = []string{"h2", "http/1.1"}
		server := &http.Server{Handler: mirror(pod), TLSConfig: config, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.ServeTLS(listener, "", "") }()
	}
	return listener, nil
}

// mirror answers a request with what it was, as echo-basic does for HTTP.
func mirror(pod *core.Pod) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(roundtripper.CapturedRequest{
			Path: r.RequestURI, Host: r.Host, Method: r.Method, Protocol: r.Proto, Headers: r.Header,
			Namespace: pod.Namespace, Pod: pod.Name,
			TLS: roundtripper.TLS{ServerName: r.TLS.ServerName, NegotiatedProtocol: r.TLS.NegotiatedProtocol},
		})
	})
}

// acceptLines answers lines of text, as echo-basic does for TCP.
func acceptLines(listener net.Listener, pod *core.Pod) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go answerLines(connection.(*tls.Conn), pod)
	}
}

func answerLines(connection *tls.Conn, pod *core.Pod) {
	defer connection.Close()
	if connection.Handshake() != nil {
		return
	}
	state := connection.ConnectionState()
	fmt.Fprint(connection, tcpserver.WelcomeMessage)
	answer := tcpserver.TCPAssertions{
		Context: tcpserver.Context{Namespace: pod.Namespace, Pod: pod.Name, TLSPort: fmt.Sprint(tlsPort)},
		IsTLS:   true,
		TLSAssertion: &tcpserver.TLSAssertions{
			Version: tls.VersionName(state.Version), ServerName: state.ServerName, NegotiatedProtocol: state.NegotiatedProtocol,
		},
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return
	}
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		switch lines.Text() {
		case "TEST":
			fmt.Fprintf(connection, "%s\n", text)
		case "IS_TLS":
			fmt.Fprintln(connection, "true")
		case "PING":
			fmt.Fprintln(connection, "PONG")
		}
	}
}
