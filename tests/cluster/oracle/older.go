package oracle

import (
	"slices"
	"strings"
)

// SubsetTLSMode is the class of a difference from istiod before 1.31: for a subset without a TLS mode of its own it did
// not take that of the DestinationRule. strait does, as istiod does since then (its release note
// dr-subset-tls-mode-fallback).
const SubsetTLSMode = "subset-tls-mode-before-1.31"

// ExplainOlder gives the class SubsetTLSMode to the differences of no known class that it explains. It is for answers of
// istiod before 1.31 only.
func ExplainOlder(differences []Difference, objects []Object) {
	rules := stage(objects, []string{"DestinationRule"})
	for n, one := range differences {
		_, subset, host := parts(one.Name)
		leaves := func(rule Object) bool { return leavesModeToRule(rule, subset) && isOf(rule, host) }
		if slices.Contains(one.Classes, Unknown) && subset != "" && slices.ContainsFunc(rules, leaves) {
			differences[n].Classes = []string{SubsetTLSMode}
		}
	}
}

// leavesModeToRule is whether the rule has the subset without a TLS mode, and a TLS mode itself.
func leavesModeToRule(rule Object, subset string) bool {
	has := slices.ContainsFunc(list(rule, "spec", "subsets"), func(it any) bool {
		return text(it, "name") == subset && !hasMode(at(it, "trafficPolicy"))
	})
	return has && hasMode(at(rule, "spec", "trafficPolicy"))
}

// hasMode is whether a traffic policy has a TLS mode, for all ports or for one.
func hasMode(policy any) bool {
	return at(policy, "tls") != nil || slices.ContainsFunc(list(policy, "portLevelSettings"), func(it any) bool { return at(it, "tls") != nil })
}

// isOf is whether the rule is for the host, which is a whole name.
func isOf(rule Object, host string) bool {
	of := text(rule, "spec", "host")
	if suffix, wild := strings.CutPrefix(of, "*"); wild {
		return strings.HasSuffix(host, suffix)
	}
	return host == of || strings.HasPrefix(host, of+".")
}
