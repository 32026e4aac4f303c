package short

import (
	"fmt"
	"testing"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"strait.dev/tests/cluster/rig"
)

func TestATLSRouteReachesItsServiceAndSaysSo(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	account := c.Account(t)
	apps, routes := c.Namespace(t, "apps", nil), c.Namespace(t, "routes", nil)
	name := apps + ".beta.example"
	c.Apply(t, account.GatewayClass(), rig.TLSGateway(account, "east-west", 15443, "*.beta.example"),
		rig.Service(apps, "svcc", 443), rig.TLSRoute(apps, "near", account.Namespace+"/east-west", name, "svcc"))
	pod := c.Pod(t, rig.Pod{Namespace: apps, Name: "svcc-0", Labels: map[string]string{"app": "svcc"}})
	g := c.Strait(t, rig.Strait{Account: account})
	g.WaitReady(t)
	g.Reaches(t, rig.Call{SNI: name, ALPN: "h2"}, pod.IP)
	g.Reaches(t, rig.Call{SNI: name}, pod.IP)
	waitConditions(t, "GatewayClass", "", account.Class, map[string]string{"Accepted": "True/Accepted"})
	waitConditions(t, "Gateway", account.Namespace, "east-west", map[string]string{
		"Accepted": "True/Accepted", "Programmed": "True/Programmed", "tls Accepted": "True/Accepted", "tls Programmed": "True/Programmed"})
	waitConditions(t, "TLSRoute", apps, "near", map[string]string{
		"east-west Accepted": "True/Accepted", "east-west ResolvedRefs": "True/ResolvedRefs"})
	status := c.Object(t, "gateway.networking.k8s.io/v1", "Gateway", account.Namespace, "east-west").Object["status"]
	addresses := fmt.Sprint(status.(map[string]any)["addresses"])
	if addresses != "[map[type:IPAddress value:"+rig.LoadBalancer+"]]" {
		t.Errorf("the Gateway shows the addresses %s", addresses)
	}

	// A route of another namespace needs the consent of the Service's.
	far := "far." + name
	route := rig.TLSRoute(routes, "far", account.Namespace+"/east-west", far, apps+"/svcc")
	grant := rig.ReferenceGrant(apps, routes)
	c.Apply(t, route)
	waitConditions(t, "TLSRoute", routes, "far", map[string]string{"east-west ResolvedRefs": "False/RefNotPermitted"})
	refused(t, g, far)
	c.Apply(t, grant)
	g.Reaches(t, rig.Call{SNI: far}, pod.IP)
	waitConditions(t, "TLSRoute", routes, "far", map[string]string{"east-west ResolvedRefs": "True/ResolvedRefs"})
	c.Delete(t, grant)
	waitConditions(t, "TLSRoute", routes, "far", map[string]string{"east-west ResolvedRefs": "False/RefNotPermitted"})
	refused(t, g, far)

	c.Apply(t, rig.TLSRoute(apps, "other", account.Namespace+"/east-west", "svcc.gamma.example", "svcc"))
	waitConditions(t, "TLSRoute", apps, "other", map[string]string{"east-west Accepted": "False/NoMatchingListenerHostname"})
	refused(t, g, "svcc.gamma.example")
	c.Delete(t, rig.TLSGateway(account, "east-west", 15443, "*.beta.example"))
	refused(t, g, name)
}

// refused waits until a call to this name reaches nothing.
func refused(t *testing.T, g *rig.Gateway, name string) {
	t.Helper()
	g.Refuses(t, rig.Call{SNI: name, ALPN: "h2"}, "")
}

func TestASingleReplicaThatIsKilledWritesStatusAtOnceAgain(t *testing.T) {
	t.Parallel()
	c := rig.Get()
	account := c.Account(t)
	c.Pod(t, rig.Pod{Namespace: account.Namespace, Name: "strait-pod", ServiceAccount: "strait"})
	account.Pod = "strait-pod"
	account.Renew(t)
	c.Apply(t, account.GatewayClass(), rig.TLSGateway(account, "first", 15443, "a.beta.example"))
	g := c.Strait(t, rig.Strait{Account: account})
	waitConditions(t, "Gateway", account.Namespace, "first", map[string]string{"Accepted": "True/Accepted"})
	before := lease(t, account)
	g.Kill(t)
	c.Apply(t, rig.TLSGateway(account, "second", 15443, "b.beta.example"))
	g.Start(t)
	waitConditions(t, "Gateway", account.Namespace, "second", map[string]string{"Accepted": "True/Accepted"})
	// A new holder, who waits until the Lease has run out, counts as a transition.
	if after := lease(t, account); after != before {
		t.Errorf("the Lease was %s, and is %s after the restart", before, after)
	}
}

func lease(t *testing.T, account *rig.Account) string {
	t.Helper()
	found, err := rig.Get().Client.CoordinationV1().Leases(account.Namespace).Get(t.Context(), "strait-status-"+account.Class, meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("held by %v after %v transitions", *found.Spec.HolderIdentity, *found.Spec.LeaseTransitions)
}
