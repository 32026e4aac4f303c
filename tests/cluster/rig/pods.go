package rig

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is a pod that exists only in the API. Nothing runs for it; the echo server answers at its address.
type Pod struct {
	Namespace, Name string
	Labels          map[string]string
	// Node is "node-0" by default.
	Node string
	// IP is chosen if it is empty.
	IP string
	// IP6 is a second address; see PodIP6.
	IP6 string
	// NotReady makes it without the condition Ready.
	NotReady bool
	// ServiceAccount is "default" if it is empty.
	ServiceAccount string
	// Grace is the time that a deletion leaves it as terminating; 0 deletes it at once.
	Grace time.Duration
	// Hostname is its name in the headless Service that Subdomain names.
	Hostname, Subdomain string
}

// Mesh is the labels of a pod of Istio's mesh that the Service `app` selects.
func Mesh(app string) map[string]string {
	return map[string]string{"app": app, "security.istio.io/tlsMode": "istio"}
}

// PodIP is the address of the N-th pod: there are 327,000.
func PodIP(n int) string {
	n += 256
	block := n / 65536
	if block > 0 {
		// 10.99/16, then 10.100/14.
		return fmt.Sprintf("10.%d.%d.%d", 99+block, n/256%256, n%256)
	}
	return fmt.Sprintf("10.99.%d.%d", n/256%256, n%256)
}

// PodIP6 is the second address of the pod with this address.
func PodIP6(ip string) string {
	var a, b, c, d int
	_, _ = fmt.Sscanf(ip, "%d.%d.%d.%d", &a, &b, &c, &d)
	return fmt.Sprintf("fd00:99::%x:%x", a<<8|b, c<<8|d)
}

// Pod makes a pod and its status.
func (c *Cluster) Pod(t testing.TB, pod Pod) Pod {
	t.Helper()
	made, err := c.MakePod(pod)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// MakePod is Pod for many at once.
func (c *Cluster) MakePod(pod Pod) (Pod, error) {
	if pod.Node == "" {
		pod.Node = "node-0"
	}
	if pod.IP == "" {
		pod.IP = c.NextPodIP()
	}
	_, err := c.Client.CoreV1().Pods(pod.Namespace).Create(context.Background(), podObject(pod), meta.CreateOptions{})
	if err != nil {
		return pod, err
	}
	return pod, c.podStatus(pod)
}

// podObject is a pod without its status.
func podObject(pod Pod) *core.Pod {
	off, grace := false, int64(pod.Grace/time.Second)
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, Labels: pod.Labels},
		Spec: core.PodSpec{
			Hostname: pod.Hostname, Subdomain: pod.Subdomain,
			NodeName: pod.Node, ServiceAccountName: pod.ServiceAccount, AutomountServiceAccountToken: &off, TerminationGracePeriodSeconds: &grace,
			Containers: []core.Container{{Name: "main", Image: "rig-echo", Ports: []core.ContainerPort{{ContainerPort: EchoPort}}}},
		},
	}
}

// NextPodIP is an address that no other pod has.
func (c *Cluster) NextPodIP() string { return PodIP(int(c.pods.Add(1))) }

func (c *Cluster) podStatus(pod Pod) error {
	ready := "True"
	if pod.NotReady {
		ready = "False"
	}
	addresses := fmt.Sprintf(`{"ip":%q}`, pod.IP)
	if pod.IP6 != "" {
		addresses += fmt.Sprintf(`,{"ip":%q}`, pod.IP6)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	patch := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%q,"podIPs":[%s],"conditions":[{"type":"Ready","status":%q,"lastTransitionTime":%q}]}}`,
		pod.IP, addresses, ready, now)
	_, err := c.Client.CoreV1().Pods(pod.Namespace).Patch(context.Background(), pod.Name, types.StrategicMergePatchType,
		[]byte(patch), meta.PatchOptions{}, "status")
	return err
}

// SetReady changes the pod's condition Ready.
func (c *Cluster) SetReady(t testing.TB, pod Pod, ready bool) {
	t.Helper()
	pod.NotReady = !ready
	if err := c.podStatus(pod); err != nil {
		t.Fatal(err)
	}
}

// DeletePod asks for the deletion of a pod: with a Grace it stays as terminating until EndPod.
func (c *Cluster) DeletePod(t testing.TB, pod Pod) {
	t.Helper()
	if err := c.Client.CoreV1().Pods(pod.Namespace).Delete(context.Background(), pod.Name, meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// EndPod removes a pod at once, as the kubelet does when its containers have ended.
func (c *Cluster) EndPod(t testing.TB, pod Pod) {
	t.Helper()
	none := int64(0)
	err := c.Client.CoreV1().Pods(pod.Namespace).Delete(context.Background(), pod.Name, meta.DeleteOptions{GracePeriodSeconds: &none})
	if err != nil {
		t.Fatal(err)
	}
}

// HasEndpoint says whether a slice of the Service has the address.
func (c *Cluster) HasEndpoint(t testing.TB, namespace, service, address string) bool {
	t.Helper()
	list, err := c.Client.DiscoveryV1().EndpointSlices(namespace).List(context.Background(), meta.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		t.Fatal(err)
	}
	for _, slice := range list.Items {
		for _, endpoint := range slice.Endpoints {
			if slices.Contains(endpoint.Addresses, address) {
				return true
			}
		}
	}
	return false
}
