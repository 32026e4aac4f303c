package short

import (
	"fmt"
	"strings"
	"testing"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"strait.dev/tests/cluster/rig"
)

func TestAnAdmissionPolicyAgainstOneStatusHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	account := c.Account(t)
	apps := c.Namespace(t, "apps", nil)
	c.Apply(t, fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: %[1]s }
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: %[1]s } }
    resourceRules: [{ apiGroups: [gateway.networking.k8s.io], apiVersions: ["*"], operations: [UPDATE], resources: [tlsroutes/status] }]
  validations: [{ expression: "object.metadata.name != 'r-3'", message: not this one, reason: Forbidden }]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: { name: %[1]s }
spec: { policyName: %[1]s, validationActions: [Deny] }
`, apps))
	c.Apply(t, account.GatewayClass(), rig.TLSGateway(account, "east-west", 15443, "*.beta.example"), rig.Service(apps, "svcc", 443))
	const count = 20
	for n := range count {
		name := fmt.Sprintf("r-%d", n)
		c.Apply(t, rig.TLSRoute(apps, name, account.Namespace+"/east-west", name+"."+apps+".beta.example", "svcc"))
	}
	// The API server needs a moment until a policy holds.
	rig.Eventually(t, "the policy denies the status of r-3", wait, func() bool {
		return strings.Contains(fmt.Sprint(c.TryStatus("TLSRoute", apps, "r-3")), "not this one")
	})
	g := c.Strait(t, rig.Strait{Account: account})
	routes := c.Dynamic.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "tlsroutes"})
	written := func() (n int) {
		found, err := routes.Namespace(apps).List(t.Context(), meta.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, route := range found.Items {
			status, _ := route.Object["status"].(map[string]any)
			if len(rig.Conditions(status)) > 0 {
				n++
			}
		}
		return n
	}
	rig.Eventually(t, "all others have a status", noticed, func() bool { return written() == count-1 })
	rig.Eventually(t, "the refusal is counted as the policy's, not as RBAC's", wait, func() bool {
		return g.Metric("strait_kubernetes_status_writes_total", `kind="tls_route"`, `result="refused"`) > 0
	})
	if denied := g.Metric("strait_kubernetes_status_writes_total", `result="denied"`); denied != 0 {
		t.Errorf("%v writes are blamed on RBAC", denied)
	}
	// A thread of its own writes the log.
	rig.Eventually(t, "the log says what the policy says", wait, func() bool { return strings.Contains(g.Log(), "not this one") })
	if log := g.Log(); strings.Contains(log, "RBAC") {
		t.Errorf("the log blames RBAC:\n%s", rig.Tail(log, 20))
	}
	c.Delete(t, fmt.Sprintf("apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: { name: %s }\n", apps))
	rig.Eventually(t, "the last one has a status without the policy", noticed, func() bool { return written() == count })
}
