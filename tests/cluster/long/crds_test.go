package long

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"strait.dev/tests/cluster/rig"
)

var rounds = flag.Int("rounds", 3, "how often each CRD goes and comes")

// policy is a kind that takes or gives a route of its own: what serves by it, and what happens while its CRD is gone.
type policy struct {
	kind, crd string
	objects   []string
	call      rig.Call
	// with and without say whether the call is served with the objects, and while the CRD is gone.
	with, without bool
}

func TestCRDsThatGoAndComeAgainAndAgain(t *testing.T) {
	c := rig.Get()
	ns, other := c.Namespace(t, "apps", nil), c.Namespace(t, "routes", nil)
	account := c.Account(t)
	gateway := account.Namespace + "/east-west"
	near, far := "near."+ns+".example", "far."+ns+".example"
	c.Apply(t, account.GatewayClass(), rig.TLSGateway(account, "east-west", 15443, "*."+ns+".example"))
	stays, barred := served(t, ns, "svcb"), served(t, ns, "barred")
	subset := c.Pod(t, rig.Pod{Namespace: ns, Name: "split-0", Labels: map[string]string{"app": "split", "version": "v1", "security.istio.io/tlsMode": "istio"}})
	c.Apply(t, rig.Service(ns, "split", 443, rig.Exported))
	consent := rig.ReferenceGrant(ns, other)
	across := rig.TLSRoute(other, "far", account.Namespace+"/east-west", far, ns+"/svcb")
	policies := []policy{
		{kind: "tls_route", crd: "tlsroutes.gateway.networking.k8s.io", call: rig.Call{SNI: near, ALPN: "istio"}, with: true,
			objects: []string{rig.TLSRoute(ns, "near", gateway, near, "svcb"), across}},
		{kind: "reference_grant", crd: "referencegrants.gateway.networking.k8s.io", call: rig.Call{SNI: far, ALPN: "istio"}, with: true, objects: []string{consent}},
		{kind: "destination_rule", crd: "destinationrules.networking.istio.io", with: true,
			call: rig.Call{SNI: "outbound_.443_.v1_.split." + ns + ".svc.cluster.local", ALPN: "istio"},
			objects: []string{fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: split, namespace: %[1]s }
spec: { host: split.%[1]s.svc.cluster.local, subsets: [{ name: v1, labels: { version: v1 } }] }
`, ns)}},
		{kind: "peer_authentication", crd: "peerauthentications.security.istio.io", call: mesh(ns, "barred"), without: true,
			objects: []string{fmt.Sprintf(`apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: barred, namespace: %s }
spec: { selector: { matchLabels: { app: barred } }, mtls: { mode: DISABLE } }
`, ns)}},
	}
	expect := func(g *rig.Gateway, of policy, is bool) {
		t.Helper()
		if is {
			g.Reaches(t, of.call, stays.IP, subset.IP, barred.IP)
		} else {
			g.Refuses(t, of.call, "")
		}
	}
	for _, of := range policies {
		c.Apply(t, of.objects...)
	}
	g := c.Strait(t, rig.Strait{Account: account})
	g.WaitReady(t)
	g.Reaches(t, mesh(ns, "svcb"), stays.IP)
	for _, of := range policies {
		expect(g, of, of.with)
	}
	kinds := g.WaitWatched(t)
	always := g.Background(mesh(ns, "svcb"), 50*time.Millisecond)
	looks, began := watchOver(g), time.Now()
	for round := range *rounds {
		for _, of := range policies {
			// The routes of the other kinds.
			var callers []*rig.Caller
			for _, beside := range policies {
				// A far route goes with the TLSRoutes too.
				if beside.kind != of.kind && beside.with && !(of.kind == "tls_route" && beside.kind == "reference_grant") {
					callers = append(callers, g.Background(beside.call, 100*time.Millisecond))
				}
			}
			c.DeleteCRDs(t, of.crd)
			deleted := time.Now()
			expect(g, of, of.without)
			rig.Eventually(t, of.kind+" is known as not installed, and so not stale", 2*time.Minute, func() bool {
				return up(g) == kinds-1 && stale(g) == 0
			})
			known := time.Since(deleted)
			c.InstallCRDs(t, of.crd)
			installed := time.Now()
			rig.Eventually(t, of.kind+" is watched again", 2*time.Minute, func() bool { return up(g) == kinds && stale(g) == 0 })
			watched := time.Since(installed)
			c.Apply(t, of.objects...)
			applied := time.Now()
			expect(g, of, of.with)
			t.Logf("round %d, %s: known as gone after %.1f s, watched %.1f s after it is back, its object counts after %.2f s",
				round+1, of.kind, known.Seconds(), watched.Seconds(), time.Since(applied).Seconds())
			for _, caller := range callers {
				caller.AllSucceed(t)
			}
		}
	}
	looks.Stop(t, false)
	discovery := 0
	for _, request := range c.Audit(t, account.Namespace, "strait", began) {
		if request.Resource == "" {
			discovery++
		}
	}
	t.Logf("%d CRDs gone and back in %.0f s: %d calls to the Service that needs none of them, %d questions about what the API serves",
		*rounds*len(policies), time.Since(began).Seconds(), always.Count(), discovery)
	always.AllSucceed(t)
}
