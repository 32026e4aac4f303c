package short

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"strait.dev/tests/cluster/rig"
)

// The kinds by their resource, and by strait's word for them.
var kinds = map[string]string{
	"services": "service", "pods": "pod", "namespaces": "namespace", "endpointslices": "endpoint_slice",
	"peerauthentications": "peer_authentication", "destinationrules": "destination_rule", "configmaps": "mesh_config",
	"serviceentries": "service_entry", "workloadentries": "workload_entry",
	"gatewayclasses": "gateway_class", "gateways": "gateway", "tlsroutes": "tls_route", "referencegrants": "reference_grant",
}

func TestTheGatewayIsNotReadyWithoutAKindThatItMayNotList(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	ns := c.Namespace(t, "apps", nil)
	c.Apply(t, rig.Service(ns, "svcb", 443, rig.Exported))
	pod := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcb-0", Labels: rig.Mesh("svcb")})
	for resource, kind := range kinds {
		t.Run(resource, func(t *testing.T) {
			t.Parallel()
			account := c.Account(t, resource)
			g := c.Strait(t, rig.Strait{Account: account})
			wanted := "not ready: Kubernetes: not listed yet: " + kind
			var last string
			if !rig.Within(wait, func() bool { _, last = g.Ready(); return strings.TrimSpace(last) == wanted }) {
				t.Fatalf("/healthz/ready says %q, not %q", last, wanted)
			}
			rig.Eventually(t, "the refusal is counted", wait, func() bool {
				return g.Metric("strait_kubernetes_errors_total", `reason="forbidden"`, fmt.Sprintf("kind=%q", kind)) > 0
			})
			if slices.Contains([]string{"services", "endpointslices", "pods", "peerauthentications", "destinationrules", "configmaps"}, resource) {
				if answer, err := g.Call(mesh(ns, "svcb")); err == nil {
					t.Errorf("a call that the kind may forbid reaches %+v", answer)
				}
			}
			account.Permit(t)
			g.WaitReady(t)
			g.Reaches(t, mesh(ns, "svcb"), pod.IP)
		})
	}
}

func TestTheManifestsGrantWhatIsUsedAndNoMore(t *testing.T) {
	c := rig.Get()
	begin := time.Now().Add(-time.Second)
	account := c.ManifestsAccount(t)
	apps, team := c.Namespace(t, "apps", nil), c.Namespace(t, "team", nil)
	// Its class, its Gateway, a route and an export; then what the other settings ask for.
	c.Apply(t, account.GatewayClass(), rig.TLSGateway(account, "east-west", 15443, "*.rights.example"),
		rig.Service(apps, "svcb", 443, rig.Exported), rig.TLSRoute(apps, "svcb", "strait/east-west", "svcb.rights.example", "svcb"))
	pod := c.Pod(t, rig.Pod{Namespace: apps, Name: "svcb-0", Labels: rig.Mesh("svcb")})
	g := c.Strait(t, rig.Strait{AsIs: true})
	g.WaitReady(t)
	g.Reaches(t, mesh(apps, "svcb"), pod.IP)
	waitConditions(t, "TLSRoute", apps, "svcb", map[string]string{"east-west Accepted": "True/Accepted"})
	g.WaitWatched(t)
	g.Kill(t)
	second := c.Strait(t, rig.Strait{Edit: func(config string) string {
		config = edit(t, "opt_in: annotation", "opt_in: service_export")(config)
		return edit(t, "gateway_api: { ", fmt.Sprintf("gateway_api: { namespaces: [strait, %s], ", team))(config)
	}})
	c.Apply(t, serviceExport(apps, "svcb"), strings.NewReplacer("namespace: strait", "namespace: "+team).Replace(
		rig.TLSGateway(account, "same", 15443, "*.rights.example")))
	second.WaitReady(t)
	waitConditions(t, "Gateway", team, "same", map[string]string{"tls Conflicted": "True/HostnameConflict"})
	var left []string
	if !rig.Within(wait, func() bool { left = unused(t, begin); return len(left) == 0 }) {
		t.Errorf("the manifests grant what was not used: %v", left)
	}
	for _, request := range c.Audit(t, "strait", "strait", begin) {
		if request.Code == 403 {
			t.Errorf("the API refused %s of %s %s %s", request.Verb, request.Group, request.Resource, request.URI)
		}
	}
}

// unused are the rights of the manifests that no request since then has needed.
func unused(t *testing.T, since time.Time) []string {
	t.Helper()
	c := rig.Get()
	used := map[string]bool{}
	for _, request := range c.Audit(t, "strait", "strait", since) {
		used[right(request.Group, join(request.Resource, request.Subresource), request.Verb)] = true
	}
	cluster, err := c.Client.RbacV1().ClusterRoles().Get(t.Context(), "strait", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own, err := c.Client.RbacV1().Roles("strait").Get(t.Context(), "strait", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, rule := range slices.Concat(cluster.Rules, own.Rules) {
		found = append(found, unusedOf(rule, used)...)
	}
	return found
}

func unusedOf(rule rbac.PolicyRule, used map[string]bool) (found []string) {
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				if granted := right(group, resource, verb); !used[granted] {
					found = append(found, granted)
				}
			}
		}
	}
	return found
}

func right(group, resource, verb string) string {
	return fmt.Sprintf("%s of %s/%s", verb, group, resource)
}

func join(resource, subresource string) string {
	if subresource == "" {
		return resource
	}
	return resource + "/" + subresource
}
