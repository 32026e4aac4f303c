package rig

import (
	"fmt"
	"strings"
)

// TLSGateway is the YAML of a Gateway of the account's class in its namespace with one listener for TLS in mode Passthrough, open to routes of all namespaces.
// Without a hostname it takes any.
func TLSGateway(of *Account, name string, port int, hostname string) string {
	host := ""
	if hostname != "" {
		host = fmt.Sprintf("hostname: %q, ", hostname)
	}
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: %s, namespace: %s }
spec:
  gatewayClassName: %s
  listeners:
    - { name: tls, port: %d, %sprotocol: TLS, tls: { mode: Passthrough }, allowedRoutes: { namespaces: { from: All } } }
`, name, of.Namespace, of.Class, port, host)
}

// TLSRoute is the YAML of a route from a hostname to port 443 of a Service, attached to the Gateway NAMESPACE/NAME. The
// Service is in the route's namespace, or is named NAMESPACE/NAME too.
func TLSRoute(namespace, name, gateway, hostname, service string) string {
	of, at, _ := strings.Cut(gateway, "/")
	there, service, found := strings.Cut(service, "/")
	if !found {
		there, service = namespace, there
	}
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: { name: %s, namespace: %s }
spec:
  parentRefs: [{ namespace: %s, name: %s }]
  hostnames: [%q]
  rules: [{ backendRefs: [{ name: %s, namespace: %s, port: 443 }] }]
`, name, namespace, of, at, hostname, service, there)
}

// ReferenceGrant is the YAML of a namespace's consent that TLSRoutes of another one refer to its Services.
func ReferenceGrant(namespace, from string) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: { name: grant, namespace: %s }
spec:
  from: [{ group: gateway.networking.k8s.io, kind: TLSRoute, namespace: %s }]
  to: [{ group: "", kind: Service }]
`, namespace, from)
}

// Conditions reads the conditions of a Gateway API object: "TYPE" to "STATUS/REASON", for a Gateway's listeners with
// "LISTENER TYPE", for a route's parents with "GATEWAY TYPE".
func Conditions(status map[string]any) map[string]string {
	found := map[string]string{}
	add := func(prefix string, of any) {
		conditions, _ := of.([]any)
		for _, each := range conditions {
			condition, _ := each.(map[string]any)
			found[prefix+fmt.Sprint(condition["type"])] = fmt.Sprintf("%v/%v", condition["status"], condition["reason"])
		}
	}
	add("", status["conditions"])
	listeners, _ := status["listeners"].([]any)
	for _, each := range listeners {
		listener, _ := each.(map[string]any)
		add(fmt.Sprint(listener["name"], " "), listener["conditions"])
	}
	parents, _ := status["parents"].([]any)
	for _, each := range parents {
		parent, _ := each.(map[string]any)
		reference, _ := parent["parentRef"].(map[string]any)
		add(fmt.Sprint(reference["name"], " "), parent["conditions"])
	}
	return found
}
