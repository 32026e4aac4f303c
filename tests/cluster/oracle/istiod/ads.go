package istiod

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"strait.dev/tests/cluster/oracle"
)

const (
	typePrefix = "type.googleapis.com/envoy.config."
	cds        = typePrefix + "cluster.v3.Cluster"
	eds        = typePrefix + "endpoint.v3.ClusterLoadAssignment"
	lds        = typePrefix + "listener.v3.Listener"
	method     = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	// The beginning of every name that istiod gives to a gateway with AUTO_PASSTHROUGH.
	outbound = "outbound_."
)

// raw sends and receives messages as they are.
type raw struct{}

func (raw) Marshal(value any) ([]byte, error) { return value.(message), nil }
func (raw) Unmarshal(content []byte, value any) error {
	*value.(*message) = slices.Clone(content)
	return nil
}
func (raw) Name() string { return "proto" }

// Gateway is a client of istiod that asks for what Istio's own east-west gateway asks for.
type Gateway struct {
	connection *grpc.ClientConn
	stop       context.CancelFunc

	lock      sync.Mutex
	clusters  map[string]cluster
	endpoints map[string][]string
	listeners map[string]map[string]string
	wanted    map[string]bool
	ended     error
}

// Connect opens a stream to istiod's plain-text port, as a gateway of Istio's with the label istio: eastwestgateway.
func Connect(address string) (*Gateway, error) {
	largest := grpc.MaxCallRecvMsgSize(math.MaxInt32)
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	connection, err := grpc.NewClient(address, plain, grpc.WithDefaultCallOptions(largest, grpc.ForceCodec(raw{})))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	gateway := &Gateway{
		connection: connection, stop: stop, clusters: map[string]cluster{}, endpoints: map[string][]string{},
		listeners: map[string]map[string]string{}, wanted: map[string]bool{},
	}
	desc := &grpc.StreamDesc{StreamName: "DeltaAggregatedResources", ServerStreams: true, ClientStreams: true}
	stream, err := connection.NewStream(ctx, desc, method, grpc.WaitForReady(true))
	if err != nil {
		gateway.Close()
		return nil, err
	}
	node, err := node()
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{cds, lds} {
		if err := stream.SendMsg(node.with(2, []byte(kind))); err != nil {
			return nil, err
		}
	}
	go func() {
		err := gateway.follow(stream)
		gateway.lock.Lock()
		defer gateway.lock.Unlock()
		gateway.ended = err
	}()
	return gateway, nil
}

// Close ends the stream.
func (g *Gateway) Close() {
	g.stop()
	g.connection.Close()
}

// node is the beginning of a first request: the description of a gateway's pod.
func node() (message, error) {
	const account, namespace = "istio-eastwestgateway-service-account", "istio-system"
	metadata, err := structpb.NewStruct(map[string]any{
		"NAMESPACE": namespace, "SERVICE_ACCOUNT": account, "CLUSTER_ID": ClusterID, "NETWORK": "network1",
		"LABELS":        map[string]any{"istio": "eastwestgateway", "topology.istio.io/network": "network1"},
		"ISTIO_VERSION": "", "INSTANCE_IPS": "10.98.0.10", "NAME": "istio-eastwestgateway-0",
		"NODE_NAME": oracle.GatewayNode,
		// As Istio's chart says it for a gateway of a network: endpoints of other networks are left out.
		"REQUESTED_NETWORK_VIEW": "network1",
	})
	if err != nil {
		return nil, err
	}
	content, err := proto.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	id := "router~10.98.0.10~istio-eastwestgateway-0.istio-system~istio-system.svc.cluster.local"
	it := message{}.with(1, []byte(id)).with(2, []byte("istio-eastwestgateway.istio-system")).with(3, content)
	return message{}.with(1, it), nil
}

func (g *Gateway) follow(stream grpc.ClientStream) error {
	for {
		var response message
		if err := stream.RecvMsg(&response); err != nil {
			return err
		}
		kind := response.text(4)
		ack := message{}.with(2, []byte(kind)).with(6, response.last(5).bytes)
		if err := stream.SendMsg(ack); err != nil {
			return err
		}
		g.take(kind, response)
		more, less := g.missing()
		if len(more)+len(less) == 0 {
			continue
		}
		request := message{}.with(2, []byte(eds))
		for _, name := range more {
			request = request.with(3, []byte(name))
		}
		for _, name := range less {
			request = request.with(4, []byte(name))
		}
		if err := stream.SendMsg(request); err != nil {
			return err
		}
	}
}

// take keeps the resources of a response, and forgets those that it removes.
func (g *Gateway) take(kind string, response message) {
	g.lock.Lock()
	defer g.lock.Unlock()
	for _, one := range response.all(2) {
		name, body := one.bytes.text(3), one.bytes.last(2, 2).bytes
		switch kind {
		case cds:
			g.clusters[name] = clusterOf(body)
		case eds:
			g.endpoints[name] = endpointsOf(body)
		case lds:
			g.listeners[name] = namesOf(body)
		}
	}
	for _, one := range response.all(6) {
		switch name := string(one.bytes); kind {
		case cds:
			delete(g.clusters, name)
		case eds:
			delete(g.endpoints, name)
		case lds:
			delete(g.listeners, name)
		}
	}
}

// missing gives the clusters whose endpoints must be asked for, and those that are gone.
func (g *Gateway) missing() (more, less []string) {
	g.lock.Lock()
	defer g.lock.Unlock()
	for name, cluster := range g.clusters {
		if cluster.byEDS && !g.wanted[name] && strings.HasPrefix(name, outbound) {
			g.wanted[name] = true
			more = append(more, name)
		}
	}
	for name := range g.wanted {
		if _, there := g.clusters[name]; !there {
			delete(g.wanted, name)
			delete(g.endpoints, name)
			less = append(less, name)
		}
	}
	return more, less
}

// Names gives the endpoints of every outbound_ name that a filter chain of the gateway leads to.
func (g *Gateway) Names() (oracle.Names, error) {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.ended != nil {
		return nil, fmt.Errorf("istiod ended the stream: %w", g.ended)
	}
	out := oracle.Names{}
	for _, names := range g.listeners {
		for name, to := range names {
			if !strings.HasPrefix(name, outbound) {
				continue
			}
			cluster, there := g.clusters[to]
			endpoints := cluster.endpoints
			if cluster.byEDS {
				endpoints, there = g.endpoints[to]
			}
			// A cluster that is still on its way has no endpoints yet.
			if !there {
				endpoints = nil
			}
			out.Add(name, endpoints)
		}
	}
	return out, nil
}
