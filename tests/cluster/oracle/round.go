package oracle

import (
	"fmt"
	"math/rand/v2"
)

// Round is what some seeds make, each in a namespace of its own, and then the changes to it: the objects of other
// seeds over those of the same names, while some of the rest go.
type Round struct {
	Namespaces    []string
	First, Second Generated
	Removed       []Object
}

// The distance between a seed and that of its changes.
const changes = 1_000_000

// NewRound makes the objects of some seeds.
func NewRound(seeds []uint64) Round {
	var round Round
	for n := range seeds {
		round.Namespaces = append(round.Namespaces, fmt.Sprintf("shop-%02d", n))
	}
	const ipsOfFirst = 100
	round.First = round.state(seeds, 0, 0)
	round.Second = round.state(seeds, changes, ipsOfFirst)
	// Changes of a pod do not move it.
	before := map[Key]Object{}
	for _, o := range round.First.Objects {
		before[o.Key()] = o
	}
	again := map[Key]bool{}
	for n, o := range round.Second.Objects {
		again[o.Key()] = true
		if was := before[o.Key()]; was != nil && o.Kind() == "Pod" {
			round.Second.Objects[n]["spec"] = was["spec"]
		}
	}
	random := rand.New(rand.NewPCG(seeds[0], changes))
	for _, o := range round.First.Objects {
		if !again[o.Key()] && o.Kind() != "Namespace" && random.IntN(3) == 0 {
			round.Removed = append(round.Removed, o)
		}
	}
	return round
}

func (r Round) state(seeds []uint64, shift uint64, firstIP int) Generated {
	out := generateMesh(seeds[0]+shift, r.Namespaces)
	for n, namespace := range r.Namespaces {
		made := generate(seeds[n]+shift, namespace, n+1, firstIP, r.Namespaces)
		it := Object{"kind": "Namespace", "metadata": map[string]any{"name": namespace}}
		out.Objects = append(append(out.Objects, Complete(it, "")), made.Objects...)
		out.Terminating = append(out.Terminating, made.Terminating...)
	}
	return out
}
