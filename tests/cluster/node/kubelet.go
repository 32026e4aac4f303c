package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"strait.dev/tests/cluster/rig"
)

// Image makes the command of a pod's first container.
type Image func(pod *Pod) (command *rig.Process, err error)

// Kubelet runs pods.
type Kubelet struct {
	cluster *rig.Cluster
	// networks by name; see NetworkLabel.
	networks   map[string]*Network
	images     map[string]Image
	namespaces []string
	folder     string

	stop   chan struct{}
	done   sync.WaitGroup
	mutex  sync.Mutex
	pods   map[types.UID]*Pod
	failed []error
}

// NetworkLabel is the label of a pod that names its network.
const NetworkLabel = "topology.istio.io/network"

// HostIP is the address of the one node that there is.
const HostIP = "10.98.0.9"

// Pod is a pod that runs.
type Pod struct {
	*core.Pod
	*Space
	// Folder is the kubelet's folder for the files of the pod.
	Folder  string
	Process *rig.Process
	cluster *rig.Cluster
	ending  atomic.Bool
	gone    chan struct{}
}

// NewKubelet runs the pods of some namespaces from now on. Files of pods lie below the folder.
func NewKubelet(cluster *rig.Cluster, folder string, networks map[string]*Network, images map[string]Image, namespaces ...string) *Kubelet {
	k := &Kubelet{cluster: cluster, networks: networks, images: images, namespaces: namespaces, folder: folder,
		stop: make(chan struct{}), pods: map[types.UID]*Pod{}}
	k.done.Go(func() {
		for {
			for _, namespace := range k.namespaces {
				k.note(k.look(namespace))
			}
			select {
			case <-k.stop:
				return
			case <-time.After(look):
			}
		}
	})
	return k
}

// Stop ends the looks and kills all pods' programs. It returns what went wrong meanwhile.
func (k *Kubelet) Stop() error {
	close(k.stop)
	k.done.Wait()
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for _, pod := range k.pods {
		_ = pod.Process.Signal(syscall.SIGKILL)
	}
	return errors.Join(k.failed...)
}

// Pods are those that run, ending ones among them.
func (k *Kubelet) Pods() []*Pod {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	var all []*Pod
	for _, pod := range k.pods {
		all = append(all, pod)
	}
	slices.SortFunc(all, func(a, b *Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return all
}

func (k *Kubelet) note(err error) {
	if err == nil {
		return
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.failed) < 100 {
		k.failed = append(k.failed, fmt.Errorf("%s: %w", time.Now().Format(time.TimeOnly), err))
	}
}

func (k *Kubelet) look(namespace string) error {
	list, err := k.cluster.Client.CoreV1().Pods(namespace).List(context.Background(), meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, object := range list.Items {
		k.mutex.Lock()
		pod, known := k.pods[object.UID]
		k.mutex.Unlock()
		switch {
		case !known && object.DeletionTimestamp == nil:
			if err := k.begin(object.DeepCopy()); err != nil {
				return fmt.Errorf("%s/%s: %w", object.Namespace, object.Name, err)
			}
		case known && object.DeletionTimestamp != nil && pod.ending.CompareAndSwap(false, true):
			k.done.Go(func() { k.note(k.end(pod)) })
		}
	}
	return nil
}

// begin gives a pod its node, its address and its programs. From then on others see it.
func (k *Kubelet) begin(object *core.Pod) error {
	name := object.Labels[NetworkLabel]
	network, there := k.networks[name]
	if !there {
		return fmt.Errorf("label %s=%s: no such network", NetworkLabel, name)
	}
	image, there := k.images[object.Spec.Containers[0].Image]
	if !there {
		return fmt.Errorf("no image %s", object.Spec.Containers[0].Image)
	}
	pods := k.cluster.Client.CoreV1().Pods(object.Namespace)
	if object.Spec.NodeName == "" {
		object.Spec.NodeName = "node-0"
		binding := &core.Binding{ObjectMeta: meta.ObjectMeta{Name: object.Name}, Target: core.ObjectReference{Kind: "Node", Name: object.Spec.NodeName}}
		if err := pods.Bind(context.Background(), binding, meta.CreateOptions{}); err != nil {
			return err
		}
	}
	space, err := network.Join(object.Name)
	if err != nil {
		return err
	}
	pod := &Pod{Pod: object, Space: space, Folder: k.folder + "/" + object.Name, cluster: k.cluster, gone: make(chan struct{})}
	if err := k.run(pod, image); err != nil {
		// The next look begins anew.
		return errors.Join(err, space.Leave())
	}
	k.mutex.Lock()
	k.pods[object.UID] = pod
	k.mutex.Unlock()
	k.done.Go(func() { k.probe(pod) })
	return nil
}

// run starts the program of a pod that has its network.
func (k *Kubelet) run(pod *Pod, image Image) error {
	pod.Status.PodIP = pod.IP
	if sysctls := pod.Spec.SecurityContext; sysctls != nil {
		for _, one := range sysctls.Sysctls {
			if err := pod.Sysctl(one.Name, one.Value); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(pod.Folder, 0o755); err != nil {
		return err
	}
	if err := k.status(pod, false); err != nil {
		return err
	}
	process, err := image(pod)
	if err != nil {
		return err
	}
	pod.Process = process
	return process.TryStart()
}

// probe writes the pod's condition Ready as its probe says, until it is gone. A pod without a probe is ready at once.
func (k *Kubelet) probe(pod *Pod) {
	probe := pod.Spec.Containers[0].ReadinessProbe
	if probe == nil {
		k.note(k.status(pod, true))
		return
	}
	client := http.Client{Timeout: time.Duration(max(probe.TimeoutSeconds, 1)) * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	url := fmt.Sprintf("http://%s:%d%s", pod.IP, pod.port(probe.HTTPGet.Port.String()), probe.HTTPGet.Path)
	ready, failed := false, int32(0)
	for {
		response, err := client.Get(url)
		succeeds := err == nil && response.StatusCode < http.StatusBadRequest
		if err == nil {
			response.Body.Close()
		}
		was := ready
		if succeeds {
			ready, failed = true, 0
		} else if failed++; failed >= max(probe.FailureThreshold, 1) {
			ready = false
		}
		if was != ready {
			k.note(k.status(pod, ready))
		}
		period := time.Duration(max(probe.PeriodSeconds, 1)) * time.Second
		if !ready && !pod.ending.Load() {
			// A pod that starts is probed more often here, to save time.
			period = time.Second
		}
		select {
		case <-k.stop:
			return
		case <-pod.gone:
			return
		case <-time.After(period):
		}
	}
}

// port is a number, or that of a port of the container with this name.
func (p *Pod) port(name string) int32 {
	for _, port := range p.Spec.Containers[0].Ports {
		if port.Name == name {
			return port.ContainerPort
		}
	}
	var number int32
	_, _ = fmt.Sscan(name, &number)
	return number
}

func (k *Kubelet) status(pod *Pod, ready bool) error {
	word := map[bool]string{true: "True", false: "False"}[ready]
	now := time.Now().UTC().Format(time.RFC3339)
	patch := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}],"hostIP":%q,"hostIPs":[{"ip":%q}],"startTime":%q,
		"conditions":[{"type":"Ready","status":%q,"lastTransitionTime":%q},{"type":"ContainersReady","status":%q,"lastTransitionTime":%q}]}}`,
		pod.IP, pod.IP, HostIP, HostIP, now, word, now, word, now)
	_, err := k.cluster.Client.CoreV1().Pods(pod.Namespace).Patch(context.Background(), pod.Name, types.StrategicMergePatchType, []byte(patch),
		meta.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// end ends a pod as its deletion asks: SIGTERM, the grace period, SIGKILL.
func (k *Kubelet) end(pod *Pod) error {
	grace := int64(core.DefaultTerminationGracePeriodSeconds)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if err := pod.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-pod.Process.Ended():
	case <-k.stop:
		return nil
	case <-time.After(time.Duration(grace) * time.Second):
		k.note(fmt.Errorf("%s still ran after its grace period of %d s", pod.Name, grace))
		if err := pod.Process.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		<-pod.Process.Ended()
	}
	close(pod.gone)
	k.mutex.Lock()
	delete(k.pods, pod.UID)
	k.mutex.Unlock()
	if err := pod.Leave(); err != nil {
		return err
	}
	none := int64(0)
	err := k.cluster.Client.CoreV1().Pods(pod.Namespace).Delete(context.Background(), pod.Name, meta.DeleteOptions{
		GracePeriodSeconds: &none, Preconditions: &meta.Preconditions{UID: &pod.UID}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
