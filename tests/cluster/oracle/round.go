package oracle

import (
	"fmt"
	"math/rand/v2"
)

// Round is what some seeds make in a cluster, each in a namespace of its own, and then the changes to it: the objects of other
// seeds over those of the same names, while some of the rest go.
type Round struct {
	Namespaces    []string
	First, Second Generated
	Removed       []Object
	// Both are added: one to the numbers of seeds, the other to the parts of addresses that no other namespace has.
	shift   uint64
	network int
}

// The distance between a seed and that of its changes.
const changes = 1_000_000

// The second cluster has other seeds than the first one, and other addresses of pods.
const (
	shiftOfOther   = 10_000_000
	networkOfOther = 100
)

// NewRound makes the objects of some seeds.
func NewRound(seeds []uint64) Round {
	round := Round{}
	round.fill(seeds, nil)
	return round
}

// NewRounds makes the objects of some seeds for two clusters with the same namespaces. Most Services of the second cluster are those
// that the first one has under the same name. Its policies and ServiceEntries must have no effect.
func NewRounds(seeds []uint64) (own, other Round) {
	own = NewRound(seeds)
	other = Round{shift: shiftOfOther, network: networkOfOther}
	other.fill(seeds, &own)
	return own, other
}

// fill makes the objects. Services are shared with `with`.
func (round *Round) fill(seeds []uint64, with *Round) {
	for n := range seeds {
		round.Namespaces = append(round.Namespaces, fmt.Sprintf("shop-%02d", n))
	}
	const ipsOfFirst = 100
	round.First = round.state(seeds, 0, 0)
	round.Second = round.state(seeds, changes, ipsOfFirst)
	if with != nil {
		random := rand.New(rand.NewPCG(seeds[0], shiftOfOther))
		share(&round.First, with.First, random)
		share(&round.Second, with.Second, random)
	}
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
}

// share replaces most Services by those of the same names in another cluster.
func share(made *Generated, with Generated, random *rand.Rand) {
	services := map[Key]Object{}
	for _, o := range stage(with.Objects, []string{"Service"}) {
		services[o.Key()] = o
	}
	for n, o := range made.Objects {
		if same := services[o.Key()]; same != nil && random.IntN(4) != 0 {
			made.Objects[n] = plain(same)
		}
	}
}

func (r Round) state(seeds []uint64, shift uint64, firstIP int) Generated {
	shift += r.shift
	out := generateMesh(seeds[0]+shift, r.Namespaces)
	for n, namespace := range r.Namespaces {
		made := generate(seeds[n]+shift, namespace, r.network+n+1, firstIP, r.Namespaces)
		it := Object{"kind": "Namespace", "metadata": map[string]any{"name": namespace}}
		out.Objects = append(append(out.Objects, Complete(it, "")), made.Objects...)
		out.Terminating = append(out.Terminating, made.Terminating...)
	}
	return out
}
