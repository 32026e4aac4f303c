// Package licences checks the licences of what the cluster tests, the control plane and the SPIRE of the federation
// tests are linked from, as deny.toml does for crates. None of it is part of strait.
package licences

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The licences that are allowed, each in use, with a sentence that only its text has. All but MPL-2.0 are permissive;
// that one is about changes of its own files, and nothing here changes them.
var allowed = map[string]string{
	"Apache-2.0": "apache license",
	"MIT":        "permission is hereby granted, free of charge, to any person obtaining a copy",
	"BSD":        "redistribution and use in source and binary forms, with or without modification, are permitted",
	"MPL-2.0":    "mozilla public license",
	"ISC":        "permission to use, copy, modify, and/or distribute this software for any purpose",
}

type module struct {
	Path, Version, Dir string
	Main               bool
}

// linked are the modules of the packages that a module's programs and tests are built from.
func linked(t *testing.T, folder string) []module {
	t.Helper()
	command := exec.Command("go", "list", "-deps", "-test", "-json=Module", "./...")
	command.Dir = folder
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v", folder, err)
	}
	found := map[string]module{}
	for packages := json.NewDecoder(strings.NewReader(string(out))); ; {
		var of struct{ Module *module }
		if err := packages.Decode(&of); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if of.Module != nil && !of.Module.Main {
			found[of.Module.Path] = *of.Module
		}
	}
	return slices.Collect(maps.Values(found))
}

// licencesOf are the allowed licences that a module's files name.
func licencesOf(of module) (found []string) {
	for _, pattern := range []string{"LICEN[SC]E*", "Licen[sc]e*", "licen[sc]e*", "COPYING*"} {
		files, _ := filepath.Glob(filepath.Join(of.Dir, pattern))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			words := strings.ToLower(strings.Join(strings.Fields(string(text)), " "))
			for name, sentence := range allowed {
				if strings.Contains(words, sentence) {
					found = append(found, name)
				}
			}
		}
	}
	return found
}

func TestEveryModuleHasALicenceThatIsAllowed(t *testing.T) {
	used := map[string]bool{}
	for _, folder := range []string{"..", "../kube", "../../federation/spire"} {
		modules := linked(t, folder)
		if len(modules) == 0 {
			t.Errorf("%s: no modules", folder)
		}
		for _, of := range modules {
			found := licencesOf(of)
			if len(found) == 0 {
				t.Errorf("%s %s has no licence that is allowed; look in %s", of.Path, of.Version, of.Dir)
			}
			for _, name := range found {
				used[name] = true
			}
		}
	}
	for name := range allowed {
		if !used[name] {
			t.Errorf("no module has the licence %s: it needs no place in the list", name)
		}
	}
}
