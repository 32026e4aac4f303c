package oracle

import (
	"testing"

	"sigs.k8s.io/yaml"
)

func TestOlderIstiodTakesNoTLSModeOfARuleForItsSubset(t *testing.T) {
	const name = "outbound_.80_.s0_.a.shop.svc.cluster.local"
	for _, of := range []struct{ host, subsets, policy, class string }{
		{"a.shop.svc.cluster.local", "[{ name: s0 }]", "{ tls: { mode: DISABLE } }", SubsetTLSMode},
		{"a.shop", "[{ name: s0 }]", "{ portLevelSettings: [{ port: { number: 80 }, tls: { mode: DISABLE } }] }", SubsetTLSMode},
		{"*.local", "[{ name: s0 }]", "{ tls: { mode: DISABLE } }", SubsetTLSMode},
		{"b.shop.svc.cluster.local", "[{ name: s0 }]", "{ tls: { mode: DISABLE } }", Unknown},
		{"a.shop", "[{ name: s1 }]", "{ tls: { mode: DISABLE } }", Unknown},
		{"a.shop", "[{ name: s0, trafficPolicy: { tls: { mode: SIMPLE } } }]", "{ tls: { mode: DISABLE } }", Unknown},
		{"a.shop", "[{ name: s0 }]", "{}", Unknown},
	} {
		var rule Object
		text := "kind: DestinationRule\nmetadata: { name: rule, namespace: shop }\nspec: { host: \"" + of.host + "\", subsets: " + of.subsets +
			", trafficPolicy: " + of.policy + " }\n"
		if err := yaml.Unmarshal([]byte(text), &rule); err != nil {
			t.Fatal(err)
		}
		differences := []Difference{{Name: name, Classes: []string{Unknown}}}
		ExplainOlder(differences, []Object{rule})
		if got := differences[0].Classes[0]; got != of.class {
			t.Errorf("%s: %s, not %s", text, got, of.class)
		}
	}
}
