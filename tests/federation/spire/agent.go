package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/andres-erbsen/clock"
	secret_v3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/sirupsen/logrus"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/spire/pkg/agent/api/rpccontext"
	"github.com/spiffe/spire/pkg/agent/client"
	"github.com/spiffe/spire/pkg/agent/endpoints/sdsv3"
	"github.com/spiffe/spire/pkg/agent/endpoints/workload"
	"github.com/spiffe/spire/pkg/agent/manager/cache"
	"github.com/spiffe/spire/pkg/common/bundleutil"
	"github.com/spiffe/spire/pkg/common/rotationutil"
	"github.com/spiffe/spire/pkg/common/telemetry"
	"github.com/spiffe/spire/proto/spire/common"
	"google.golang.org/grpc"
)

// syncInterval is the time between two looks at what has to be signed anew. SPIRE's agent takes 5 s.
const syncInterval = 50 * time.Millisecond

// agent is the part of SPIRE's agent that sidecars see: its cache decides what they get and when, its SDS handler
// answers. A sidecar is known by the socket that it uses, not by its process.
type agent struct {
	*cache.LRUCache
	log       logrus.FieldLogger
	authority *authorities
	store     *store
	folder    string
	// Whether SDS has the names of SPIRE's defaults, in place of those that Istio's sidecars need.
	defaults bool
	rotation *rotationutil.RotationStrategy

	mu      sync.Mutex
	entries map[string]*common.RegistrationEntry
	lives   map[string]life
	served  map[string]bool
}

func newAgent(authority *authorities, store *store, s settings, log logrus.FieldLogger) (*agent, error) {
	bundle, err := authority.bundle(context.Background())
	if err != nil {
		return nil, err
	}
	return &agent{
		LRUCache:  cache.NewLRUCache(log, authority.domain, bundle, telemetry.Blackhole{}, 0, 0, clock.New()),
		log:       log,
		authority: authority,
		store:     store,
		folder:    s.folder,
		defaults:  s.sdsDefaults,
		rotation:  rotationutil.NewRotationStrategy(0),
		entries:   map[string]*common.RegistrationEntry{},
		lives:     map[string]life{},
		served:    map[string]bool{},
	}, nil
}

// run signs anew what has reached half of its life, until the program ends.
func (a *agent) run() {
	for range time.Tick(syncInterval) {
		if err := a.sync(); err != nil {
			a.log.WithError(err).Error("cannot bring the cache up to date")
		}
	}
}

// sync tells the cache what the server has, and signs what the cache then misses.
func (a *agent) sync() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	own, err := a.authority.bundle(context.Background())
	if err != nil {
		return err
	}
	bundles := map[spiffeid.TrustDomain]*spiffebundle.Bundle{a.authority.domain: own}
	for _, stored := range a.store.all() {
		bundle, err := bundleutil.SPIFFEBundleFromProto(stored)
		if err != nil {
			return err
		}
		bundles[bundle.TrustDomain()] = bundle
	}
	entries := make(map[string]*common.RegistrationEntry, len(a.entries))
	for id, entry := range a.entries {
		entries[id] = entry
	}
	a.SyncSVIDsWithSubscribers()
	a.UpdateEntries(&cache.UpdateEntries{Bundles: bundles, RegistrationEntries: entries},
		func(_, entry *common.RegistrationEntry, svid *cache.X509SVID) bool {
			return a.lives[entry.EntryId].renewed && a.rotation.ShouldRotateX509(time.Now(), svid.Chain[0])
		})
	svids := map[string]*cache.X509SVID{}
	for _, stale := range a.GetStaleEntries() {
		id, err := spiffeid.FromString(stale.Entry.SpiffeId)
		if err != nil {
			return err
		}
		chain, key, err := a.authority.sign(id, a.lives[stale.Entry.EntryId].ttl)
		if err != nil {
			return err
		}
		svids[stale.Entry.EntryId] = &cache.X509SVID{Chain: chain, PrivateKey: key}
	}
	a.UpdateSVIDs(&cache.UpdateSVIDs{X509SVIDs: svids})
	return nil
}

// taint has every SVID of these authorities signed anew.
func (a *agent) taint(authorities []*x509.Certificate) {
	a.TaintX509SVIDs(context.Background(), authorities)
}

// life is how long an SVID lives, and whether the agent renews it in time.
type life struct {
	ttl     time.Duration
	renewed bool
}

// register makes or changes the entry of the sidecar called name.
func (a *agent) register(name string, id spiffeid.ID, life life, federatesWith []string) error {
	entry := &common.RegistrationEntry{EntryId: name, SpiffeId: id.String(), Selectors: []*common.Selector{socket(name)}}
	for _, domain := range federatesWith {
		other, err := spiffeid.TrustDomainFromString(domain)
		if err != nil {
			return err
		}
		// SPIRE's server has this as a key of its database.
		if a.store.all()[other.IDString()] == nil {
			return fmt.Errorf("unable to find federated bundle %q", other.IDString())
		}
		entry.FederatesWith = append(entry.FederatesWith, other.IDString())
	}
	a.mu.Lock()
	if before := a.entries[name]; before != nil {
		entry.RevisionNumber = before.RevisionNumber + 1
	}
	a.entries[name], a.lives[name] = entry, life
	a.mu.Unlock()
	return a.sync()
}

// unregister removes an entry. Its sidecar keeps what it has.
func (a *agent) unregister(name string) error {
	a.mu.Lock()
	delete(a.entries, name)
	a.mu.Unlock()
	return a.sync()
}

// dissociate takes another trust domain out of every entry. Entries are replaced, since the cache has those from before.
func (a *agent) dissociate(other spiffeid.TrustDomain) error {
	a.mu.Lock()
	for name, entry := range a.entries {
		others := slices.DeleteFunc(slices.Clone(entry.FederatesWith), func(id string) bool { return id == other.IDString() })
		a.entries[name] = &common.RegistrationEntry{EntryId: entry.EntryId, SpiffeId: entry.SpiffeId,
			Selectors: entry.Selectors, RevisionNumber: entry.RevisionNumber, FederatesWith: others}
	}
	a.mu.Unlock()
	return a.sync()
}

func socket(name string) *common.Selector {
	return &common.Selector{Type: "socket", Value: name}
}

// serve answers the sidecar called name, whether or not it has an entry. The answer is the socket's path.
func (a *agent) serve(name string) (string, error) {
	path := filepath.Join(a.folder, name+".sock")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.served[name] {
		return path, nil
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return "", err
	}
	a.served[name] = true
	server := grpc.NewServer(grpc.StreamInterceptor(
		func(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			ctx := rpccontext.WithLogger(stream.Context(), a.log)
			// No process has that ID: SPIRE's handler compares it with its own.
			return handle(service, logging{stream, rpccontext.WithCallerPID(ctx, -1)})
		}))
	// config/federation has these names.
	names := sdsv3.Config{Attestor: attestor(name), Manager: a, DefaultSVIDName: "default",
		DefaultBundleName: "null", DefaultAllBundlesName: "ROOTCA"}
	if a.defaults {
		names.DefaultBundleName, names.DefaultAllBundlesName = "ROOTCA", "ALL"
	}
	secret_v3.RegisterSecretDiscoveryServiceServer(server, sdsv3.New(names))
	// SPIRE's agent serves the Workload API on the same socket.
	api.RegisterSpiffeWorkloadAPIServer(server, workload.New(workload.Config{Manager: a, Attestor: attestor(name),
		TrustDomain: a.authority.domain}))
	go func() { a.log.Fatal(server.Serve(listener)) }()
	return path, nil
}

// SubscribeToCacheChanges serves the handlers of SDS and of the Workload API.
func (a *agent) SubscribeToCacheChanges(ctx context.Context, key cache.Selectors) (cache.Subscriber, error) {
	return a.SubscribeToWorkloadUpdates(ctx, key)
}

// FetchJWTSVID is a part of the Workload API that nobody here asks for.
func (a *agent) FetchJWTSVID(context.Context, *common.RegistrationEntry, []string) (*client.JWTSVID, error) {
	return nil, errors.ErrUnsupported
}

// attestor is the name of the socket that a sidecar uses.
type attestor string

func (a attestor) Attest(context.Context) ([]*common.Selector, error) {
	return []*common.Selector{socket(string(a))}, nil
}

// logging gives SPIRE's handlers the logger that they expect.
type logging struct {
	grpc.ServerStream
	ctx context.Context
}

func (l logging) Context() context.Context { return l.ctx }
