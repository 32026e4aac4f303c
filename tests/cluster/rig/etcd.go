package rig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// Compact makes etcd forget every version but the present one, which it returns. A watch of an API server without a watch cache, or of one
// that starts later, cannot begin at an older version any more.
func (c *Cluster) Compact(t testing.TB) (revision string) {
	t.Helper()
	var at struct{ Header struct{ Revision string } }
	// Any key serves: the answer names the present revision.
	etcd(t, "range", map[string]any{"key": "Lw=="}, &at)
	etcd(t, "compaction", map[string]any{"revision": at.Header.Revision, "physical": true}, nil)
	return at.Header.Revision
}

// Stored is an object that is written into etcd.
type Stored struct {
	// path is that below /registry.
	path   string
	object any
}

// StoredPod is a pod as Pod makes it. Its address must be there.
func StoredPod(pod Pod) Stored {
	ready := core.PodCondition{Type: core.PodReady, Status: core.ConditionTrue}
	object := podObject(pod)
	object.TypeMeta = meta.TypeMeta{Kind: "Pod", APIVersion: "v1"}
	object.ObjectMeta = born(object.ObjectMeta)
	object.Status = core.PodStatus{Phase: core.PodRunning, PodIP: pod.IP, PodIPs: []core.PodIP{{IP: pod.IP}}, Conditions: []core.PodCondition{ready}}
	return Stored{"pods/" + pod.Namespace + "/" + pod.Name, object}
}

// StoredService is a Service, with the addresses that its spec has.
func StoredService(service core.Service) Stored {
	service.TypeMeta = meta.TypeMeta{Kind: "Service", APIVersion: "v1"}
	service.ObjectMeta = born(service.ObjectMeta)
	service.Spec.ClusterIP = service.Spec.ClusterIPs[0]
	return Stored{"services/specs/" + service.Namespace + "/" + service.Name, service}
}

// StoredSlice is the slice of a Service whose pods have the Service's name with a number, and these addresses.
func StoredSlice(namespace, service string, addresses []string) Stored {
	ready, port, name, protocol := true, int32(EchoPort), "https", core.ProtocolTCP
	slice := discovery.EndpointSlice{
		TypeMeta:    meta.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"},
		ObjectMeta:  born(meta.ObjectMeta{Namespace: namespace, Name: service, Labels: map[string]string{discovery.LabelServiceName: service}}),
		AddressType: discovery.AddressTypeIPv4, Ports: []discovery.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
	}
	for n, address := range addresses {
		slice.Endpoints = append(slice.Endpoints, discovery.Endpoint{
			Addresses: []string{address}, Conditions: discovery.EndpointConditions{Ready: &ready},
			TargetRef: &core.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprintf("%s-%d", service, n)},
		})
	}
	return Stored{"endpointslices/" + namespace + "/" + service, slice}
}

// born is the metadata with what the API gives to a new object.
func born(of meta.ObjectMeta) meta.ObjectMeta {
	of.UID, of.CreationTimestamp, of.Generation = uuid.NewUUID(), meta.Now(), 1
	return of
}

// Store writes many objects into etcd as the API server does, without its checks: a thousand a second. What watches the API sees them as any
// others. Each has a version of its own, as all that the API makes; with several of one version, controllers miss some.
func (c *Cluster) Store(objects []Stored) error {
	var all sync.WaitGroup
	var next atomic.Int64
	failures := make(chan error, 16)
	for range cap(failures) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(objects); i = int(next.Add(1)) - 1 {
				text, err := json.Marshal(objects[i].object)
				if err == nil {
					err = askEtcd("put", map[string]any{"key": []byte("/registry/" + objects[i].path), "value": text}, nil)
				}
				if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func etcd(t testing.TB, what string, question map[string]any, answer any) {
	t.Helper()
	if err := askEtcd(what, question, answer); err != nil {
		t.Fatal(err)
	}
}

// etcdClient keeps its connections, since Store asks often. On a busy machine an answer may take long.
var etcdClient = http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// askEtcd asks etcd's JSON gateway.
func askEtcd(what string, question map[string]any, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	response, err := etcdClient.Post("http://127.0.0.1:2379/v3/kv/"+what, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("etcd: %s: %s: %s", what, response.Status, text)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}
