package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// The time between two looks at the API. kube-proxy takes about as long to write its rules.
const look = 200 * time.Millisecond

// Balancer is the load balancer of Services of type LoadBalancer.
type Balancer struct {
	client kubernetes.Interface
	// first is the address of the first Service, without its last byte.
	first string
	given map[types.NamespacedName]string
	stop  chan struct{}
	done  sync.WaitGroup
	mutex sync.Mutex
	rules string
	err   error
}

// NewBalancer starts a load balancer. Its addresses are prefix.1, prefix.2 and so on.
func NewBalancer(client kubernetes.Interface, prefix string) *Balancer {
	b := &Balancer{client: client, first: prefix, given: map[types.NamespacedName]string{}, stop: make(chan struct{})}
	b.done.Go(func() {
		for {
			if err := b.look(); err != nil {
				b.mutex.Lock()
				b.err = err
				b.mutex.Unlock()
			}
			select {
			case <-b.stop:
				return
			case <-time.After(look):
			}
		}
	})
	return b
}

// Stop ends the changes, and returns the last thing that went wrong.
func (b *Balancer) Stop() error {
	close(b.stop)
	b.done.Wait()
	return b.err
}

// Rules are those in force.
func (b *Balancer) Rules() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.rules
}

func (b *Balancer) look() error {
	services, err := b.client.CoreV1().Services("").List(context.Background(), meta.ListOptions{})
	if err != nil {
		return err
	}
	var all []string
	for _, service := range services.Items {
		if service.Spec.Type != core.ServiceTypeLoadBalancer {
			continue
		}
		address, err := b.address(service)
		if err != nil {
			return err
		}
		list, err := b.client.DiscoveryV1().EndpointSlices(service.Namespace).List(context.Background(),
			meta.ListOptions{LabelSelector: discovery.LabelServiceName + "=" + service.Name})
		if err != nil {
			return err
		}
		for _, port := range service.Spec.Ports {
			if to := endpoints(list.Items, port.Name); len(to) > 0 {
				all = append(all, fmt.Sprintf("ip daddr %s tcp dport %d dnat to numgen random mod %d map { %s }", address, port.Port, len(to), choices(to)))
			}
		}
	}
	slices.Sort(all)
	rules := strings.Join(all, "\n")
	if rules == b.Rules() {
		return nil
	}
	const chain = "table ip balancer {\n chain services {\n  type nat hook prerouting priority dstnat;\n"
	err = nft(chain + " }\n}\nflush chain ip balancer services\n" + chain + rules + "\n }\n}\n")
	if err == nil {
		b.mutex.Lock()
		b.rules = rules
		b.mutex.Unlock()
	}
	return err
}

// address is that of the Service; a new one is written into its status, as a cloud's controller does.
func (b *Balancer) address(service core.Service) (string, error) {
	name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	if address, there := b.given[name]; there {
		return address, nil
	}
	address := fmt.Sprintf("%s.%d", b.first, len(b.given)+1)
	_, err := b.client.CoreV1().Services(service.Namespace).Patch(context.Background(), service.Name, types.MergePatchType,
		[]byte(`{"status":{"loadBalancer":{"ingress":[{"ip":"`+address+`"}]}}}`), meta.PatchOptions{}, "status")
	if err == nil {
		b.given[name] = address
	}
	return address, err
}

// endpoints are the ready ones; if there are none, those that end and still serve.
func endpoints(list []discovery.EndpointSlice, port string) []string {
	var ready, serving []string
	for _, slice := range list {
		for _, number := range slice.Ports {
			if deref(number.Name) != port || number.Port == nil {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				address := fmt.Sprintf("%s . %d", endpoint.Addresses[0], *number.Port)
				switch {
				case endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready:
					ready = append(ready, address)
				case deref(endpoint.Conditions.Serving) && deref(endpoint.Conditions.Terminating):
					serving = append(serving, address)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	slices.SortFunc(ready, cmp.Compare[string])
	return ready
}

// choices are the elements of nftables' map from a number to an endpoint.
func choices(of []string) string {
	var out []string
	for n, address := range of {
		out = append(out, fmt.Sprintf("%d : %s", n, address))
	}
	return strings.Join(out, ", ")
}

func deref[T any](value *T) (zero T) {
	if value == nil {
		return zero
	}
	return *value
}
