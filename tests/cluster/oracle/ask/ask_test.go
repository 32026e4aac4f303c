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
	tally := tally{classes: map[string]int{}}
	it := start(t)
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
	round := oracle.NewRound(seeds)
	begin := time.Now()
	for state, made := range []oracle.Generated{round.First, round.Second} {
		if state == 1 {
			if err := s.API.RemoveAll(round.Removed); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.API.ApplyValid(made); err != nil {
			t.Fatal(err)
		}
		s.compare(t, tally, round, fmt.Sprintf("seeds %d-%d, state %d", seeds[0], seeds[len(seeds)-1], state))
	}
	if err := s.API.Clean(round.Namespaces); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("seeds %d-%d: %d names so far, %d differ, %.0f s\n", seeds[0], seeds[len(seeds)-1], tally.names, tally.differ,
		time.Since(begin).Seconds())
}

// compare counts the names of both sides, and reports differences of no known class, with their objects.
func (s *sides) compare(t *testing.T, tally *tally, round oracle.Round, where string) {
	t.Helper()
	var istiod oracle.Names
	var differences []oracle.Difference
	var objects []oracle.Object
	isUnknown := func(one oracle.Difference) bool { return slices.Contains(one.Classes, oracle.Unknown) }
	// A side that is late on a busy machine looks like a difference, so a second look waits for longer.
	for _, quiet := range []time.Duration{time.Second, 2 * quiet} {
		theirs, ours, err := s.Settle(quiet)
		if err != nil {
			t.Fatal(err)
		}
		if objects, err = s.API.Read(round.Namespaces); err != nil {
			t.Fatal(err)
		}
		istiod = theirs.Of(round.Namespaces)
		differences = oracle.Compare(istiod, ours.Of(round.Namespaces), objects)
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
