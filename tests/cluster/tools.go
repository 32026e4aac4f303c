//go:build tools

// Package cluster names the modules that the tests only read files of: the CRDs of Istio, Gateway API and the
// Multi-Cluster Services API.
package cluster

import (
	_ "istio.io/api/meta/v1alpha1"
	_ "sigs.k8s.io/gateway-api/apis/v1"
	_ "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)
