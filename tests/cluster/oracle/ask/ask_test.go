//go:build istiod

package ask

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"strait.dev/tests/cluster/oracle"
)

// The number of seeds whose objects are in the API at the same time.
const seedsOfRound = 40

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return value
}

// TestAsk compares both sides on the objects of new seeds. Every difference must be of a known class.
func TestAsk(t *testing.T) {
	first, count := setting(t, "STRAIT_ORACLE_FIRST", 1001), setting(t, "STRAIT_ORACLE_SEEDS", 1000)
	ask(t, start(t), first, count)
}

// TestAskOfTwo is TestAsk for two clusters.
func TestAskOfTwo(t *testing.T) {
	first, count := setting(t, "STRAIT_ORACLE_FIRST", 1001), setting(t, "STRAIT_ORACLE_SEEDS", 100)
	ask(t, startOfTwo(t), first, count)
}

func ask(t *testing.T, it *sides, first, count int) {
	t.Helper()
	tally := tally{classes: map[string]int{}}
	for done := 0; done < count; done += seedsOfRound {
		it.ask(t, &tally, seedsFrom(first+done, min(seedsOfRound, count-done)))
	}
	fmt.Println(tally.report(os.Getenv("STRAIT_ISTIOD_VERSION"), first, count))
}

// isOlder is whether a version of istiod, such as "1.30 (commit)", is before 1.31.
func isOlder(version string) bool {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err == nil && major == 1 && minor < 31
}

// tally counts names.
type tally struct {
	names, differ, onlyStrait int
	classes                   map[string]int
}

func (s *sides) ask(t *testing.T, tally *tally, seeds []uint64) {
	t.Helper()
	rounds := s.rounds(seeds)
	namespaces := rounds[0].Namespaces
	begin := time.Now()
	for state := range 2 {
		s.enter(t, rounds, state)
		s.compare(t, tally, namespaces, fmt.Sprintf("seeds %d-%d, state %d", seeds[0], seeds[len(seeds)-1], state))
	}
	s.clean(t, namespaces)
	fmt.Printf("seeds %d-%d: %d names so far, %d differ, %.0f s\n", seeds[0], seeds[len(seeds)-1], tally.names, tally.differ,
		time.Since(begin).Seconds())
}

// rounds makes the objects of some seeds for each cluster.
func (s *sides) rounds(seeds []uint64) []oracle.Round {
	if s.Other == nil {
		return []oracle.Round{oracle.NewRound(seeds)}
	}
	own, other := oracle.NewRounds(seeds)
	return []oracle.Round{own, other}
}

// apis gives the API of each cluster.
func (s *sides) apis() []*oracle.API {
	if s.Other == nil {
		return []*oracle.API{s.API}
	}
	return []*oracle.API{s.API, s.Other}
}

// enter writes the objects of the first or of the second state of a round.
func (s *sides) enter(t *testing.T, rounds []oracle.Round, state int) {
	t.Helper()
	for n, api := range s.apis() {
		made := rounds[n].First
		if state == 1 {
			made = rounds[n].Second
			if err := api.RemoveAll(rounds[n].Removed); err != nil {
				t.Fatal(err)
			}
		}
		if err := api.ApplyValid(made); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *sides) clean(t *testing.T, namespaces []string) {
	t.Helper()
	for _, api := range s.apis() {
		if err := api.Clean(namespaces); err != nil {
			t.Fatal(err)
		}
	}
}

// read reads the objects of the first and of the second cluster.
func (s *sides) read(t *testing.T, namespaces []string) (own, other []oracle.Object) {
	t.Helper()
	own, err := s.API.Read(namespaces)
	if err == nil && s.Other != nil {
		other, err = s.Other.Read(namespaces)
	}
	if err != nil {
		t.Fatal(err)
	}
	return own, other
}

// compare counts the names of both sides, and reports differences of no known class, with their objects.
func (s *sides) compare(t *testing.T, tally *tally, namespaces []string, where string) {
	t.Helper()
	var istiod oracle.Names
	var differences []oracle.Difference
	var objects, other []oracle.Object
	isUnknown := func(one oracle.Difference) bool { return slices.Contains(one.Classes, oracle.Unknown) }
	// A side that is late on a busy machine looks like a difference, so a second look waits for longer.
	for _, quiet := range []time.Duration{time.Second, 2 * quiet} {
		theirs, ours, err := s.Settle(quiet)
		if err != nil {
			t.Fatal(err)
		}
		objects, other = s.read(t, namespaces)
		istiod = theirs.Of(namespaces)
		differences = oracle.Compare(istiod, ours.Of(namespaces), objects, other)
		if isOlder(os.Getenv("STRAIT_ISTIOD_VERSION")) {
			oracle.ExplainOlder(differences, objects)
		}
		if !slices.ContainsFunc(differences, isUnknown) {
			break
		}
	}
	tally.names += len(istiod)
	for _, one := range differences {
		if one.Istiod == nil {
			tally.onlyStrait++
		} else {
			tally.differ++
		}
		tally.classes[strings.Join(one.Classes, " + ")]++
		if isUnknown(one) {
			t.Errorf("%s: %s: istiod %v, strait %v: of no known class", where, one.Name, one.Istiod, one.Strait)
			for _, o := range oracle.About(objects, one.Name) {
				t.Log(o)
			}
			for _, o := range oracle.About(other, one.Name) {
				t.Log("second cluster: " + o)
			}
		}
	}
}

// report writes the tally as a part of the documentation.
func (t tally) report(version string, first, count int) string {
	var out strings.Builder
	fmt.Fprintf(&out, "Istio %s, seeds %d to %d: %d names of istiod, %d equal, %d differ; %d names of strait only.\n\n",
		version, first, first+count-1, t.names, t.names-t.differ, t.differ, t.onlyStrait)
	fmt.Fprintf(&out, "| class | names |\n|---|---|\n")
	classes := slices.SortedFunc(maps.Keys(t.classes), func(a, b string) int {
		return cmp.Or(t.classes[b]-t.classes[a], strings.Compare(a, b))
	})
	for _, class := range classes {
		fmt.Fprintf(&out, "| %s | %d |\n", class, t.classes[class])
	}
	return out.String()
}
