package main

import (
	"context"
	"maps"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/spire/pkg/server/bundle/client"
	"github.com/spiffe/spire/pkg/server/datastore"
	"github.com/spiffe/spire/proto/spire/common"
)

// store is the part of SPIRE's database that its bundle client uses: bundles of other trust domains, and where to
// get them.
type store struct {
	// Nil: whatever else is asked for panics.
	datastore.DataStore
	changed func()
	// The own bundle, which is in that database too.
	own func() *common.Bundle

	mu        sync.Mutex
	bundles   map[string]*common.Bundle
	federated map[spiffeid.TrustDomain]client.TrustDomainConfig
}

func newStore(changed func(), own func() *common.Bundle) *store {
	return &store{changed: changed, own: own, bundles: map[string]*common.Bundle{},
		federated: map[spiffeid.TrustDomain]client.TrustDomainConfig{}}
}

func (s *store) FetchBundle(_ context.Context, id string) (*common.Bundle, error) {
	if own := s.own(); own.TrustDomainId == id {
		return own, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bundles[id], nil
}

func (s *store) SetBundle(_ context.Context, bundle *common.Bundle) (*common.Bundle, error) {
	s.mu.Lock()
	s.bundles[bundle.TrustDomainId] = bundle
	s.mu.Unlock()
	s.changed()
	return bundle, nil
}

// forget removes a bundle, as an operator does who withdraws trust.
func (s *store) forget(domain spiffeid.TrustDomain) {
	s.mu.Lock()
	delete(s.bundles, domain.IDString())
	s.mu.Unlock()
	s.changed()
}

func (s *store) all() map[string]*common.Bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.bundles)
}

func (s *store) federate(domain spiffeid.TrustDomain, with client.TrustDomainConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.federated[domain] = with
}

// GetTrustDomainConfigs serves SPIRE's manager of the bundle client.
func (s *store) GetTrustDomainConfigs(context.Context) (map[spiffeid.TrustDomain]client.TrustDomainConfig, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.federated), nil
}
