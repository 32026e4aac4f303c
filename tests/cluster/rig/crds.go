package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// CRDs by the projects that publish them.
var (
	GatewayAPICRDs = []string{
		"gatewayclasses.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io",
		"tlsroutes.gateway.networking.k8s.io", "referencegrants.gateway.networking.k8s.io",
	}
	IstioCRDs = []string{
		"peerauthentications.security.istio.io", "destinationrules.networking.istio.io", "serviceentries.networking.istio.io",
		"workloadentries.networking.istio.io",
	}
	MCSCRDs = []string{"serviceexports.multicluster.x-k8s.io"}
	// AllCRDs are those of the kinds that strait reads. Any other CRD of the three projects may be named too.
	AllCRDs = slices.Concat(GatewayAPICRDs, IstioCRDs, MCSCRDs)
	// IstiodCRDs are those of the kinds that istiod reads and strait does not.
	IstiodCRDs = []string{
		"gateways.networking.istio.io", "virtualservices.networking.istio.io", "sidecars.networking.istio.io", "envoyfilters.networking.istio.io",
		"proxyconfigs.networking.istio.io", "workloadgroups.networking.istio.io", "authorizationpolicies.security.istio.io",
		"requestauthentications.security.istio.io", "telemetries.telemetry.istio.io", "wasmplugins.extensions.istio.io",
	}
)

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// The folders and files with CRDs in the modules of these tests.
var crdSources = map[string]string{
	"sigs.k8s.io/gateway-api": "config/crd/standard/*.yaml",
	"istio.io/api":            "kubernetes/customresourcedefinitions.gen.yaml",
	"sigs.k8s.io/mcs-api":     "config/crd/*.yaml",
}

// readCRDs finds all CRDs that the modules publish.
var readCRDs = sync.OnceValues(func() (map[string]*unstructured.Unstructured, error) {
	found := map[string]*unstructured.Unstructured{}
	for module, pattern := range crdSources {
		folder, err := moduleDir(module)
		if err != nil {
			return nil, err
		}
		files, _ := filepath.Glob(filepath.Join(folder, pattern))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			for _, object := range split(text) {
				item := &unstructured.Unstructured{}
				if err := yaml.Unmarshal(object, &item.Object); err != nil {
					return nil, fmt.Errorf("%s: %w", file, err)
				}
				if item.GetKind() == "CustomResourceDefinition" {
					found[item.GetName()] = item
				}
			}
		}
	}
	return found, nil
})

// moduleDir is the folder of a module in the cache.
func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("go list -m %s: %s", module, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// split cuts a YAML file into its documents.
func split(text []byte) [][]byte {
	var documents [][]byte
	for _, document := range bytes.Split(append([]byte("\n"), text...), []byte("\n---")) {
		if len(bytes.TrimSpace(document)) > 0 {
			documents = append(documents, document)
		}
	}
	return documents
}

// installCRDs creates the CRDs with these names, and waits until the API serves them.
func (c *Cluster) installCRDs(names []string) error {
	if len(names) == 0 {
		return nil
	}
	known, err := readCRDs()
	if err != nil {
		return err
	}
	api := c.Dynamic.Resource(crdResource)
	for _, name := range names {
		object, ok := known[name]
		if !ok {
			return fmt.Errorf("no module publishes the CRD %s", name)
		}
		_, err := api.Create(context.Background(), object, meta.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	for _, name := range names {
		if err := established(api, name); err != nil {
			return err
		}
	}
	c.mapper.Reset()
	return nil
}

func established(api dynamic.NamespaceableResourceInterface, name string) error {
	if Within(time.Minute, func() bool {
		found, err := api.Get(context.Background(), name, meta.GetOptions{})
		if err != nil {
			return false
		}
		conditions, _, _ := unstructured.NestedSlice(found.Object, "status", "conditions")
		return slices.ContainsFunc(conditions, func(of any) bool {
			condition, _ := of.(map[string]any)
			return condition["type"] == "Established" && condition["status"] == "True"
		})
	}) {
		return nil
	}
	return fmt.Errorf("the API does not serve the CRD %s", name)
}
