//go:build istiod

package ask

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"strait.dev/tests/cluster/oracle"
	"strait.dev/tests/cluster/rig"
)

const (
	// The seeds whose answers are stored, and the number of those in one file.
	storedSeeds      = 40
	storedSeedsOfTwo = 20
	seedsOfFile      = 5
	// The time without news after which both sides count as settled. An unnoticed change would be stored.
	quiet = 3 * time.Second
)

// TestRecord asks istiod about every case and about the stored seeds, and writes answers/. Each file is a test of its
// own, so that -run can choose one.
func TestRecord(t *testing.T) {
	it := start(t)
	recorder := recorder{sides: it, folder: filepath.Join(rig.Root(), "tests/cluster/oracle/answers")}
	cases, err := oracle.Cases()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("cases", func(t *testing.T) { recorder.together(t, "cases", oracle.Usual(cases)) })
	for first := 1; first <= storedSeeds; first += seedsOfFile {
		t.Run(fmt.Sprintf("seeds-%02d", first), func(t *testing.T) { recorder.seeds(t, "seeds-", first) })
	}
	for _, one := range cases {
		if one.Mesh != "" && one.Other == nil {
			t.Run(one.Name, func(t *testing.T) { recorder.mesh(t, one) })
		}
	}
}

// TestRecordOfTwo is TestRecord for two clusters.
func TestRecordOfTwo(t *testing.T) {
	it := startOfTwo(t)
	recorder := recorder{sides: it, folder: filepath.Join(rig.Root(), "tests/cluster/oracle/answers")}
	cases, err := oracle.Cases()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("cases", func(t *testing.T) { recorder.together(t, "two-cases", oracle.OfTwo(cases)) })
	for first := 1; first <= storedSeedsOfTwo; first += seedsOfFile {
		t.Run(fmt.Sprintf("seeds-%02d", first), func(t *testing.T) { recorder.seeds(t, "two-seeds-", first) })
	}
	for _, one := range cases {
		if one.Mesh != "" && one.Other != nil {
			t.Run(one.Name, func(t *testing.T) { recorder.mesh(t, one) })
		}
	}
}

type recorder struct {
	*sides
	folder string
	// The differences of the file of answers that is being made.
	differing oracle.Differing
}

// take adds what both sides say now as a state of the answers.
func (r *recorder) take(t *testing.T, answers *oracle.Answers) {
	t.Helper()
	istiod, strait, err := r.Settle(quiet)
	if err != nil {
		t.Fatal(err)
	}
	objects, other := r.read(t, answers.Namespaces)
	istiod, strait = istiod.Of(answers.Namespaces), strait.Of(answers.Namespaces)
	number := len(answers.States)
	var before, otherBefore []oracle.Object
	if number > 0 {
		before, otherBefore = answers.ObjectsAt(number - 1)
	}
	state := oracle.State{Names: istiod}
	state.Objects, state.Gone = oracle.Changes(before, objects)
	state.Other, state.OtherGone = oracle.Changes(otherBefore, other)
	answers.States = append(answers.States, state)
	differences := oracle.Compare(istiod, strait, objects, other)
	for _, one := range differences {
		r.differing = append(r.differing, oracle.Differs{
			Answers: answers.Name, State: number, Name: one.Name, Strait: one.Strait, Classes: one.Classes,
		})
		if slices.Contains(one.Classes, oracle.Unknown) {
			t.Errorf("%s, state %d: %s: istiod %v, strait %v: of no known class", answers.Name, number, one.Name, one.Istiod, one.Strait)
		}
	}
	t.Logf("%s, state %d: %d objects, %d names, %d differ", answers.Name, number, len(objects), len(istiod), len(differences))
}

func (r *recorder) answers(name string, namespaces []string) *oracle.Answers {
	return &oracle.Answers{
		Name: name, Istio: os.Getenv("STRAIT_ISTIOD_VERSION"), Kubernetes: r.kubernetes(), Namespaces: namespaces,
	}
}

func (r *recorder) kubernetes() string {
	version, err := r.cluster.Client.Discovery().ServerVersion()
	if err != nil {
		return err.Error()
	}
	return version.GitVersion
}

func (r *recorder) save(t *testing.T, answers *oracle.Answers) {
	t.Helper()
	if err := answers.Save(r.folder); err != nil {
		t.Fatal(err)
	}
	differing, err := oracle.LoadDiffering(r.folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := append(differing.Without(answers.Name), r.differing...).Save(r.folder); err != nil {
		t.Fatal(err)
	}
	r.differing = nil
	r.clean(t, answers.Namespaces)
}

// together asks about the cases that have the usual settings of the mesh, all at once.
func (r *recorder) together(t *testing.T, name string, usual oracle.Together) {
	t.Helper()
	if err := r.API.ApplyAll(usual.Objects, usual.Doomed); err != nil {
		t.Fatal(err)
	}
	r.applyOther(t, usual.Other)
	if _, _, err := r.Settle(quiet); err != nil {
		t.Fatal(err)
	}
	if err := r.API.RemoveAll(usual.Gone); err != nil {
		t.Fatal(err)
	}
	answers := r.answers(name, usual.Namespaces)
	r.take(t, answers)
	r.save(t, answers)
}

func (r *recorder) applyOther(t *testing.T, objects []oracle.Object) {
	t.Helper()
	if len(objects) > 0 {
		if err := r.Other.ApplyAll(objects, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// mesh asks about one case with settings of its own.
func (r *recorder) mesh(t *testing.T, one oracle.Case) {
	t.Helper()
	r.stopIstiod()
	if err := r.API.Apply(oracle.Settings(one.Mesh)); err != nil {
		t.Fatal(err)
	}
	if err := r.API.ApplyAll(one.Objects, one.Doomed()); err != nil {
		t.Fatal(err)
	}
	r.applyOther(t, one.Other)
	r.startIstiod(t)
	answers := r.answers(one.Name, one.Namespaces())
	r.take(t, answers)
	r.save(t, answers)
}

// seeds asks about the objects of some seeds, and about their changes.
func (r *recorder) seeds(t *testing.T, name string, first int) {
	t.Helper()
	rounds := r.rounds(seedsFrom(first, seedsOfFile))
	answers := r.answers(fmt.Sprintf("%s%02d", name, first), rounds[0].Namespaces)
	for state := range 2 {
		r.enter(t, rounds, state)
		r.take(t, answers)
	}
	r.save(t, answers)
}
