package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
)

// Paths from the folder of this package.
const (
	repository = "../../.."
	pagePath   = repository + "/" + "docs/src/reference/conformance.md"
	reportPath = repository + "/" + "docs/src/reference/conformance-report.yaml"
)

// expectation is what a test of the suite must give, and the reason.
type expectation struct {
	Result string `json:"result"`
	Why    string `json:"why"`
}

func readExpected(t *testing.T) map[string]expectation {
	t.Helper()
	var table struct {
		Tests map[string]expectation `json:"tests"`
	}
	if err := yaml.UnmarshalStrict(read(t, "expected.yaml"), &table); err != nil {
		t.Fatal(err)
	}
	for name, test := range table.Tests {
		if (test.Result != passed && test.Result != failed) || test.Why == "" {
			t.Fatalf("expected.yaml: %s has the result %q and the reason %q", name, test.Result, test.Why)
		}
	}
	return table.Tests
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.FromSlash(path), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// version is strait's own.
func version(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^version = "([^"]+)"$`).FindSubmatch(read(t, repository+"/Cargo.toml"))
	if found == nil {
		t.Fatal("Cargo.toml has no version")
	}
	return string(found[1])
}

// table is the one of the page: what passes first, then by name.
func table(expected map[string]expectation) string {
	names := make([]string, 0, len(expected))
	for name := range expected {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if by := strings.Compare(expected[b].Result, expected[a].Result); by != 0 {
			return by
		}
		return strings.Compare(a, b)
	})
	lines := []string{"| test | result | why |", "|---|---|---|"}
	for _, name := range names {
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |", name, expected[name].Result, expected[name].Why))
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestThePageHasTheExpectedTable(t *testing.T) {
	page := string(read(t, pagePath))
	found := regexp.MustCompile(`(?m)^\| test \|(.*\n)(\|.*\n)*`)
	wanted := table(readExpected(t))
	if os.Getenv(blessEnvironment) != "" {
		write(t, pagePath, []byte(found.ReplaceAllLiteralString(page, wanted)))
		return
	}
	if found.FindString(page) != wanted {
		t.Errorf("%s has another table than expected.yaml: %s=1 writes it", pagePath, blessEnvironment)
	}
}

func TestTheStoredReportHasTheExpectedFailures(t *testing.T) {
	var report confv1.ConformanceReport
	if err := yaml.UnmarshalStrict(read(t, reportPath), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.ProfileReports) != 1 {
		t.Fatalf("%d profiles", len(report.ProfileReports))
	}
	core := report.ProfileReports[0].Core
	expected := readExpected(t)
	var failures []string
	for name, test := range expected {
		if test.Result == failed {
			failures = append(failures, name)
		}
	}
	slices.Sort(failures)
	stored := slices.Sorted(slices.Values(core.FailedTests))
	if !slices.Equal(failures, stored) || int(core.Statistics.Passed) != len(expected)-len(failures) || core.Statistics.Skipped != 0 {
		t.Errorf("%s: %v passed, failed %v; expected.yaml has %d and %v", reportPath, core.Statistics, stored, len(expected)-len(failures), failures)
	}
}

// checkReport compares the report of this run with the stored one, but for the time of the run.
func checkReport(t *testing.T, written []byte) {
	t.Helper()
	if os.Getenv(blessEnvironment) != "" {
		write(t, reportPath, written)
		return
	}
	undated := func(text []byte) string {
		return regexp.MustCompile(`(?m)^date: .*\n`).ReplaceAllString(string(text), "")
	}
	if stored := read(t, reportPath); undated(stored) != undated(written) {
		t.Errorf("%s differs from the report of this run (%s=1 writes it):\n%s", reportPath, blessEnvironment, written)
	}
}
