package oracle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// differingFile names the file of answers/ that holds what strait says otherwise than istiod.
const differingFile = "differing.jsonl"

// Differs is what strait says otherwise than istiod of one name: a line of the file.
type Differs struct {
	// The file of answers, without its end, and the number of the state in it.
	Answers string `json:"answers"`
	State   int    `json:"state"`
	Name    string `json:"name"`
	// Nil if strait does not have the name.
	Strait  []string `json:"strait"`
	Classes []string `json:"classes"`
}

// Differing holds what strait says otherwise.
type Differing []Differs

// Without gives what is held of the other files of answers.
func (d Differing) Without(answers string) Differing {
	return slices.DeleteFunc(d, func(one Differs) bool { return one.Answers == answers })
}

// Names gives what strait must say: what istiod says, but for what differs.
func (d Differing) Names(answers string, state int, istiod Names) Names {
	out := maps.Clone(istiod)
	for _, one := range d {
		switch {
		case one.Answers != answers || one.State != state:
		case one.Strait == nil:
			delete(out, one.Name)
		default:
			out[one.Name] = one.Strait
		}
	}
	return out
}

// Expected gives what strait must say of the last state of a file of answers.
func Expected(folder, answers string) (Names, error) { return ExpectedAt(folder, answers, -1) }

// ExpectedAt gives what strait must say of a state of a file of answers, -1 for the last one.
func ExpectedAt(folder, answers string, state int) (Names, error) {
	all, err := Load(folder)
	if err != nil {
		return nil, err
	}
	differing, err := LoadDiffering(folder)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if one.Name != answers {
			continue
		}
		if state < 0 {
			state = len(one.States) - 1
		}
		return differing.Names(answers, state, one.States[state].Names), nil
	}
	return nil, fmt.Errorf("no answers %s in %s", answers, folder)
}

// LoadDiffering reads the file.
func LoadDiffering(folder string) (Differing, error) {
	content, err := os.ReadFile(filepath.Join(folder, differingFile))
	if err != nil {
		return nil, err
	}
	var out Differing
	for line := range strings.Lines(string(content)) {
		var one Differs
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			return nil, fmt.Errorf("%s: %w", differingFile, err)
		}
		out = append(out, one)
	}
	return out, nil
}

func (d Differing) sort() {
	slices.SortFunc(d, func(a, b Differs) int {
		return cmp.Or(strings.Compare(a.Answers, b.Answers), a.State-b.State, strings.Compare(a.Name, b.Name))
	})
}

// Save writes the file, in order.
func (d Differing) Save(folder string) error {
	d.sort()
	var out bytes.Buffer
	for _, one := range d {
		line, err := json.Marshal(one)
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
	}
	return os.WriteFile(filepath.Join(folder, differingFile), out.Bytes(), 0o644)
}
