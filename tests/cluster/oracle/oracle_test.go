package oracle

import (
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const answersFolder = "answers"

// Every difference that is stored must be explained by its classes, and every class must be needed. With STRAIT_BLESS
// the test writes the classes into the file instead.
func TestStoredDifferencesAreOfKnownClasses(t *testing.T) {
	differing, err := LoadDiffering(answersFolder)
	if err != nil {
		t.Fatal(err)
	}
	all, err := Load(answersFolder)
	if err != nil {
		t.Fatal(err)
	}
	used, explained := map[string]bool{}, Differing{}
	for _, answers := range all {
		for state, one := range answers.States {
			strait := differing.Names(answers.Name, state, one.Names)
			own, other := answers.ObjectsAt(state)
			for _, differs := range Compare(one.Names, strait, own, other) {
				explained = append(explained, Differs{answers.Name, state, differs.Name, differs.Strait, differs.Classes})
				for _, class := range differs.Classes {
					used[class] = true
				}
			}
		}
	}
	if os.Getenv("STRAIT_BLESS") != "" {
		if err := explained.Save(answersFolder); err != nil {
			t.Fatal(err)
		}
	}
	explained.sort()
	if differing, err = LoadDiffering(answersFolder); err != nil || !reflect.DeepEqual(explained, differing) {
		t.Errorf("%s does not have the differences with their classes: %v; STRAIT_BLESS=1 go test ./oracle writes them",
			differingFile, err)
	}
	classes, err := Classes()
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range classes {
		if !used[class.Name] {
			t.Errorf("no stored name is of the class %s: differences.yaml has it in vain", class.Name)
		}
		delete(used, class.Name)
	}
	for class := range used {
		t.Errorf("differences.yaml has no class %s", class)
	}
}

func TestCasesCanBeRead(t *testing.T) {
	cases, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	namespaces := map[string]string{}
	for _, one := range cases {
		for _, namespace := range one.Namespaces() {
			if other := namespaces[namespace]; other != "" {
				t.Errorf("%s and %s share the namespace %s", one.Name, other, namespace)
			}
			namespaces[namespace] = one.Name
		}
		if one.About == "" {
			t.Errorf("%s does not say what it is about", one.Name)
		}
	}
}

func TestSeedsMakeTheSameObjectsAgain(t *testing.T) {
	encode := func() []string {
		var out []string
		for _, o := range NewRound([]uint64{1, 2, 3}).Second.Objects {
			out = append(out, About([]Object{o}, "outbound_.80_._.x."+o.Namespace()+".svc.cluster.local")...)
		}
		return out
	}
	if first := encode(); len(first) < 10 || !slices.Equal(first, encode()) {
		t.Errorf("%d objects, not the same ones", len(first))
	}
}

func TestRunWithoutACommandNamesAllOfThem(t *testing.T) {
	// As from the folder above: the script changes its own folder.
	command := exec.Command("oracle/run")
	command.Dir = ".."
	out, _ := command.CombinedOutput()
	for _, name := range []string{"ask", "ask-two", "record", "build"} {
		if !strings.Contains(string(out), "tests/cluster/oracle/run "+name+" [") {
			t.Errorf("it does not name %s: %s", name, out)
		}
	}
}
