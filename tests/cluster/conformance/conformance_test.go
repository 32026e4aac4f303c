// Package conformance runs the Gateway API conformance suite against strait on the rig, and compares its results with those
// that expected.yaml has.
//
// The suite is taken as its project publishes it, but for its base manifests. Those have four Gateways with HTTP and HTTPS
// listeners, and the suite waits until all of them are programmed before it runs any test, so that it runs no test against a
// gateway for TLS alone (gateway-api#2403). They are left out here.
//
// A failed test of the suite fails its program. So the suite runs in a child process, which leaves its results in a file.
package conformance

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	upstream "sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	suiteconfig "sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/kubernetes"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"

	"strait.dev/tests/cluster/rig"
)

const (
	// folderEnvironment is set for the child alone: the folder for its results and its report.
	folderEnvironment = "STRAIT_CONFORMANCE_FOLDER"
	// runEnvironment says to the child which tests it runs.
	runEnvironment = "STRAIT_CONFORMANCE_RUN"
	// blessEnvironment is set to write the page and the report in the docs.
	blessEnvironment = "STRAIT_BLESS"
)

var long = flag.Bool("long", false, "run the tests that cannot pass too, and compare the report with the one in the docs")

// The values of runEnvironment.
const (
	// The tests of the profile that can pass.
	shortRun = "short"
	// All tests of the profile.
	longRun = "long"
	// The tests of beyond.
	beyondRun = "beyond"
)

// beyond are tests that the profile does not count, or not as they are here.
var beyond = []string{
	// It asks for a feature, GatewayInfrastructure, that only those have who make objects for each Gateway. What it checks,
	// that a Gateway with parameters is refused, holds for strait.
	"GatewayInvalidParametersRef",
	// Its HTTP and HTTPS Gateways are marked as ones that need not become ready; see manifests.
	"TLSRouteInvalidNoMatchingListener",
}

// The files in the folder of a child.
const (
	resultsFile = "results.json"
	reportFile  = "report.yaml"
)

const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skipped"
)

func TestMain(m *testing.M) {
	if os.Getenv(folderEnvironment) != "" {
		// The child: it is in the namespaces already.
		os.Exit(m.Run())
	}
	rig.Main(m, rig.Options{CRDs: crds(), Controllers: []string{"deployment-controller", "replicaset-controller"}})
}

// crds are those of the Gateway API, of which the suite's client lists some that strait does not know.
func crds() []string {
	plurals := []string{
		"backendtlspolicies", "gatewayclasses", "gateways", "grpcroutes", "httproutes", "listenersets", "referencegrants",
		"tcproutes", "tlsroutes", "udproutes",
	}
	for at := range plurals {
		plurals[at] += ".gateway.networking.k8s.io"
	}
	return plurals
}

var classes = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gatewayclasses"}

// config allows the suite's Gateways, which are in a namespace of their own, on port 443. HOST is the address of the gateway.
const config = `
listeners: []
kubernetes:
  gateway_api: { addresses: [HOST], namespaces: [gateway-conformance-infra], ports: [443] }
`

func TestConformance(t *testing.T) {
	if folder := os.Getenv(folderEnvironment); folder != "" {
		runSuite(t, folder, os.Getenv(runEnvironment))
		return
	}
	expected := readExpected(t)
	c := rig.Get()
	c.Apply(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: strait }
spec: { controllerName: strait.dev/gateway-controller }
`)
	backends := &pods{client: c.Client, started: map[types.UID]bool{}}
	backends.run(t)
	s := c.NewStrait(t, rig.Strait{Config: config})
	write(t, s.ConfigPath, []byte(strings.ReplaceAll(string(read(t, s.ConfigPath)), "HOST", s.Host)))
	s.Start(t)
	s.WaitReady(t)
	rig.Eventually(t, "the GatewayClass has its features", 2*time.Minute, func() bool {
		class, err := c.Dynamic.Resource(classes).Get(t.Context(), "strait", meta.GetOptions{})
		if err != nil {
			return false
		}
		found, _, _ := unstructured.NestedSlice(class.Object, "status", "supportedFeatures")
		return len(found) > 0
	})

	run := shortRun
	if *long {
		run = longRun
	}
	found := suiteInChild(t, c.KubeconfigPath, run)
	found.mustBe(t, whatIsExpected(expected, run))
	if run == longRun {
		checkReport(t, found.report)
	}
	found = suiteInChild(t, c.KubeconfigPath, beyondRun)
	found.mustBe(t, map[string]string{beyond[0]: passed, beyond[1]: passed})
}

// whatIsExpected is the result that each test of the profile must have: in the short run those that cannot pass are skipped.
func whatIsExpected(expected map[string]expectation, run string) map[string]string {
	wanted := map[string]string{}
	for name, test := range expected {
		wanted[name] = test.Result
		if run == shortRun && test.Result == failed {
			wanted[name] = skipped
		}
	}
	return wanted
}

// differences compares the results of the suite with those that are wanted.
func differences(wanted, results map[string]string) []string {
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(results)) {
		switch found, want := results[name], wanted[name]; {
		case want == "":
			problems = append(problems, fmt.Sprintf("%s is new in the suite (%s): add it to expected.yaml", name, found))
		case found != want:
			problems = append(problems, fmt.Sprintf("%s: %s, not %s as in expected.yaml", name, found, want))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if results[name] == "" {
			problems = append(problems, fmt.Sprintf("%s is not in the suite any more: remove it from expected.yaml", name))
		}
	}
	return problems
}

func TestNewFailuresNewPassesAndNewTestsAreDifferences(t *testing.T) {
	expected := map[string]expectation{"A": {Result: passed}, "B": {Result: failed}, "C": {Result: passed}}
	for _, of := range []struct {
		run      string
		results  map[string]string
		problems []string
	}{
		{longRun, map[string]string{"A": passed, "B": failed, "C": passed}, nil},
		{shortRun, map[string]string{"A": passed, "B": skipped, "C": passed}, nil},
		{longRun, map[string]string{"A": failed, "B": passed, "C": passed}, []string{
			"A: fail, not pass as in expected.yaml", "B: pass, not fail as in expected.yaml",
		}},
		{shortRun, map[string]string{"A": passed, "B": skipped, "C": skipped}, []string{"C: skipped, not pass as in expected.yaml"}},
		{longRun, map[string]string{"A": passed, "B": failed, "D": passed}, []string{
			"D is new in the suite (pass): add it to expected.yaml",
			"C is not in the suite any more: remove it from expected.yaml",
		}},
	} {
		if problems := differences(whatIsExpected(expected, of.run), of.results); !slices.Equal(problems, of.problems) {
			t.Errorf("%v: %q", of, problems)
		}
	}
}

// outcome is what a run of the suite leaves.
type outcome struct {
	// results are those of the tests, by name.
	results map[string]string
	report  []byte
	log     string
}

func (o outcome) mustBe(t *testing.T, wanted map[string]string) {
	t.Helper()
	problems := differences(wanted, o.results)
	for _, problem := range problems {
		t.Error(problem)
	}
	if len(problems) > 0 {
		t.Logf("the log of the suite:\n%s", o.log)
	}
}

// suiteInChild runs the suite in a process of its own.
func suiteInChild(t *testing.T, kubeconfig, run string) outcome {
	t.Helper()
	folder := t.TempDir()
	child := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestConformance$", "-test.v", "-test.timeout=40m")
	child.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, folderEnvironment+"="+folder, runEnvironment+"="+run)
	begin := time.Now()
	log, err := child.CombinedOutput()
	t.Logf("the suite (%s) took %v", run, time.Since(begin).Round(time.Second))
	if logs := os.Getenv("STRAIT_RIG_LOGS"); logs != "" {
		write(t, filepath.Join(logs, "conformance-"+run+".log"), log)
	}
	text, missing := os.ReadFile(filepath.Join(folder, resultsFile))
	if missing != nil {
		t.Fatalf("the suite has left no results: %v\n%s", err, log)
	}
	found := outcome{report: read(t, filepath.Join(folder, reportFile)), log: string(log)}
	if err := json.Unmarshal(text, &found.results); err != nil {
		t.Fatal(err)
	}
	return found
}

// runSuite runs the suite in this process, and writes into the folder the result of each test that is in question.
func runSuite(t *testing.T, folder, run string) {
	options := upstream.DefaultOptions(t)
	options.GatewayClassName = "strait"
	options.Implementation = confv1.Implementation{
		Organization: "strait", Project: "strait", URL: "https://strait.dev", Version: version(t), Contact: []string{"https://strait.dev"},
	}
	options.ReportOutputPath = filepath.Join(folder, reportFile)
	options.BaseManifests = baseManifests
	// The next run uses them, and they are gone with the control plane.
	options.CleanupBaseResources = false
	options.ManifestFS = []fs.FS{manifests(t, run)}
	options.ConformanceProfiles = []suite.ConformanceProfileName{suite.GatewayTLSConformanceProfileName}
	if run == beyondRun {
		options.SupportedFeatures = []features.FeatureName{features.SupportGatewayInfrastructure}
	}
	options.SkipTests = toSkip(readExpected(t), run)
	if run == longRun {
		cutWaits(&options.TimeoutConfig)
	}

	var lock sync.Mutex
	results := map[string]string{}
	options.Hook = func(t *testing.T, test suite.ConformanceTest, s *suite.ConformanceTestSuite) {
		inQuestion := s.SupportedFeatures.HasAll(test.Features...)
		if run == beyondRun {
			inQuestion = slices.Contains(beyond, test.ShortName)
		}
		if !inQuestion {
			return
		}
		result := passed
		switch {
		case t.Failed():
			result = failed
		case t.Skipped():
			result = skipped
		}
		lock.Lock()
		defer lock.Unlock()
		results[test.ShortName] = result
	}
	t.Cleanup(func() {
		text, err := json.Marshal(results)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, resultsFile), text, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	})
	upstream.RunConformanceWithOptions(t, options)
}

// cutWaits is for the tests that cannot pass: the suite's own waits are up to 5 minutes, and on the rig nothing comes that has
// not come by then. MaxTimeToConsistency is 30 s already.
func cutWaits(waits *suiteconfig.TimeoutConfig) {
	for _, wait := range []*time.Duration{
		&waits.GatewayMustHaveAddress, &waits.GatewayMustHaveCondition, &waits.GatewayStatusMustHaveListeners,
		&waits.GatewayListenersMustHaveConditions, &waits.GWCMustBeAccepted, &waits.TLSRouteMustHaveCondition,
		&waits.RouteMustHaveParents, &waits.LatestObservedGenerationSet, &waits.DefaultTestTimeout,
	} {
		*wait = 30 * time.Second
	}
	waits.NamespacesMustBeReady = time.Minute
}

// toSkip are the tests that a run leaves out.
func toSkip(expected map[string]expectation, run string) []string {
	var names []string
	for _, test := range tests.ConformanceTests {
		left := run == shortRun && expected[test.ShortName].Result == failed
		if run == beyondRun {
			left = !slices.Contains(beyond, test.ShortName)
		}
		if left {
			names = append(names, test.ShortName)
		}
	}
	return names
}

const (
	baseManifests = "base/for-tls.yaml"
	withHTTP      = "tests/tlsroute-invalid-no-matching-listener.yaml"
)

var (
	betweenDocuments = regexp.MustCompile(`(?m)^---$`)
	kindsOfBase      = regexp.MustCompile(`(?m)^kind: (Gateway|ListenerSet|HTTPRoute)$`)
	gatewaysWithHTTP = regexp.MustCompile(`(?m)^  name: gateway-tlsroute-https?-only\n`)
)

// overlay has some files of its own, and otherwise those of the suite.
type overlay fstest.MapFS

func (o overlay) Open(name string) (fs.File, error) {
	if _, own := o[name]; own {
		return fstest.MapFS(o).Open(name)
	}
	return upstream.Manifests.Open(name)
}

// manifests are the suite's with some changes.
func manifests(t *testing.T, run string) fs.FS {
	original := func(path string) string {
		text, err := fs.ReadFile(&upstream.Manifests, path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	// Without Gateways, and with a port for TLS backends that is free on the rig.
	base := betweenDocuments.Split(original("base/manifests.yaml"), -1)
	base = slices.DeleteFunc(base, kindsOfBase.MatchString)
	text := strings.ReplaceAll(strings.Join(base, "---\n"), "targetPort: 8443", fmt.Sprintf("targetPort: %d", tlsPort))
	changed := overlay{baseManifests: {Data: []byte(text)}}
	if run == beyondRun {
		mark := fmt.Sprintf("$0  annotations: { %q: \"true\" }\n", kubernetes.GatewayExcludedFromReadinessChecks)
		changed[withHTTP] = &fstest.MapFile{Data: []byte(gatewaysWithHTTP.ReplaceAllString(original(withHTTP), mark))}
	}
	return changed
}
