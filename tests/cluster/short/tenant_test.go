package short

import (
	"fmt"
	"strings"
	"testing"

	"strait.dev/tests/cluster/rig"
)

// tenant is the account of a team that may make Gateways and TLSRoutes in its own namespace, and the world around it:
// the platform's Gateway for *.beta.example and a route of the config file for every name on port 15012.
type tenancy struct {
	platform, team     string
	account            *rig.Account
	gateway            *rig.Gateway
	svcc, evil, istiod rig.Pod
}

// tenants makes them. The gateway serves the Gateways of these namespaces, TEAM for the team's.
func tenants(t *testing.T, name, namespaces string) tenancy {
	t.Helper()
	c := rig.Get()
	of := tenancy{account: c.Account(t), team: c.Namespace(t, "team", nil)}
	of.platform = of.account.Namespace
	apps := c.Namespace(t, "apps", nil)
	c.Apply(t, of.account.GatewayClass(), rig.TLSGateway(of.account, "east-west", 15443, "*.beta.example"),
		rig.Service(apps, "svcc", 443), rig.TLSRoute(apps, "svcc", of.platform+"/east-west", name, "svcc"),
		rig.Service(of.team, "evil", 443), fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: { name: tenant, namespace: %[1]s }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: tenant, namespace: %[1]s }
rules:
  - { apiGroups: [gateway.networking.k8s.io], resources: [gateways, tlsroutes], verbs: [create, get, list, watch, update, patch, delete] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: tenant, namespace: %[1]s }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: tenant }
subjects: [{ kind: ServiceAccount, name: tenant, namespace: %[1]s }]
`, of.team))
	of.svcc = c.Pod(t, rig.Pod{Namespace: apps, Name: "svcc-0", Labels: map[string]string{"app": "svcc"}})
	of.istiod = c.Pod(t, rig.Pod{Namespace: apps, Name: "istiod-0", Labels: map[string]string{"app": "istiod"}})
	of.evil = c.Pod(t, rig.Pod{Namespace: of.team, Name: "evil-0", Labels: map[string]string{"app": "evil"}})
	of.gateway = c.Strait(t, rig.Strait{Account: of.account, Edit: func(config string) string {
		listener := "\nlisteners:\n  - { name: istiod, bind: \"[::]:15012\", routes: [{ sni: \"*\", alpn: any, upstream: istiod }] }\n"
		config = strings.Replace(config, "\nlisteners:\n", listener, 1)
		config = edit(t, ", ports: [443, 15443]", "")(config)
		config += fmt.Sprintf("upstreams: { istiod: { endpoints: [\"%s:%d\"] } }\n", of.istiod.IP, rig.EchoPort)
		if namespaces != "" {
			settings := fmt.Sprintf("namespaces: [%s], ports: [15443, 15012, 16443, 20000-20063], ", namespaces)
			settings = strings.NewReplacer("TEAM", of.team, "PLATFORM", of.platform).Replace(settings)
			config = strings.Replace(config, "gateway_api: { ", "gateway_api: { "+settings, 1)
		}
		return config
	}})
	of.gateway.WaitReady(t)
	of.gateway.Reaches(t, rig.Call{SNI: name, ALPN: "h2"}, of.svcc.IP)
	return of
}

// tries applies objects with the team's rights, which the API must accept.
func (of tenancy) tries(t *testing.T, documents ...string) {
	t.Helper()
	c := rig.Get()
	if err := c.TryApply(c.As(t, of.team, "tenant"), documents...); err != nil {
		t.Fatal("the API refused what the tenant may do: ", err)
	}
}

func (of tenancy) gatewayOf(name string, listeners ...string) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: %s, namespace: %s }
spec:
  gatewayClassName: %s
  listeners: [%s]
`, name, of.team, of.account.Class, strings.Join(listeners, ", "))
}

func tlsListener(name string, port int, hostname string) string {
	return fmt.Sprintf("{ name: %s, port: %d, hostname: %q, protocol: TLS, tls: { mode: Passthrough } }", name, port, hostname)
}

func TestATenantsGatewayIsNotServedUnlessItsNamespaceIsNamed(t *testing.T) {
	t.Parallel()
	name := rig.Get().Unique("svcc") + ".beta.example"
	of := tenants(t, name, "")
	of.tries(t, of.gatewayOf("g", tlsListener("tls", 15443, name)), rig.TLSRoute(of.team, "r", of.team+"/g", name, "evil"))
	rig.Eventually(t, "the tenant's Gateway is counted as left out", wait, func() bool {
		return of.gateway.Metric("strait_kubernetes_listeners_left_out", `reason="namespace"`) == 1
	})
	only(t, of.gateway, rig.Call{SNI: name, ALPN: "h2"}, of.svcc.IP)
}

func TestATenantTakesNoNameOfThePlatform(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	name := c.Unique("svcc") + ".beta.example"
	of := tenants(t, name, "PLATFORM, TEAM")
	of.tries(t, of.gatewayOf("g", tlsListener("tls", 15443, name)), rig.TLSRoute(of.team, "r", of.team+"/g", name, "evil"))
	waitConditions(t, "Gateway", of.team, "g", map[string]string{"tls Conflicted": "True/HostnameConflict", "tls Programmed": "False/Invalid"})
	only(t, of.gateway, rig.Call{SNI: name, ALPN: "h2"}, of.svcc.IP)
	waitConditions(t, "Gateway", of.platform, "east-west", map[string]string{"tls Accepted": "True/Accepted", "tls Programmed": "True/Programmed"})
	// The platform's Gateway says who asked.
	rig.Eventually(t, "an Event on the platform's Gateway or route names the tenant", wait, func() bool {
		return strings.Contains(c.Kubectl(t, "get", "events.events.k8s.io", "-A", "-o", "jsonpath={.items[*].note}"), of.team)
	})

	// A name of its own is served, also when it lies elsewhere than the platform's.
	own := of.team + ".example"
	of.tries(t, of.gatewayOf("own", tlsListener("tls", 15443, own)), rig.TLSRoute(of.team, "own", of.team+"/own", own, "evil"))
	of.gateway.Reaches(t, rig.Call{SNI: own, ALPN: "h2"}, of.evil.IP)
}

func TestATenantTakesNoNameOfTheConfigFile(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	of := tenants(t, c.Unique("svcc")+".beta.example", "PLATFORM, TEAM")
	call := rig.Call{To: of.gateway.Address(15012), SNI: "istiod.istio-system.svc", ALPN: "h2"}
	of.gateway.Reaches(t, call, of.istiod.IP)
	of.tries(t, of.gatewayOf("g", tlsListener("tls", 15012, call.SNI)), rig.TLSRoute(of.team, "r", of.team+"/g", call.SNI, "evil"))
	rig.Eventually(t, "the tenant's route has a status", wait, func() bool {
		return len(c.Conditions(t, "TLSRoute", of.team, "r")) > 0
	})
	only(t, of.gateway, call, of.istiod.IP)
}

func TestATenantTakesNotAllPorts(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	of := tenants(t, c.Unique("svcc")+".beta.example", "PLATFORM, TEAM")
	var listeners []string
	for n := range 64 {
		listeners = append(listeners, tlsListener(fmt.Sprintf("l%d", n), 20000+n, "a.example"))
	}
	of.tries(t, of.gatewayOf("ports", listeners...))
	rig.Eventually(t, "the tenant's Gateway has a status", wait, func() bool {
		return len(c.Conditions(t, "Gateway", of.team, "ports")) > 0
	})
	c.Apply(t, rig.TLSGateway(of.account, "later", 16443, "*.later.example"))
	waitConditions(t, "Gateway", of.platform, "later", map[string]string{"tls Accepted": "True/Accepted"})
}
