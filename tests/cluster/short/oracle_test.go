package short

import (
	"testing"

	"strait.dev/tests/cluster/oracle"
	"strait.dev/tests/cluster/rig"
)

// The kind of the cases that strait does not read.
const oracleCRD = "gateways.networking.istio.io"

// strait must make of the hand-made cases, at a real API, the same as istiod answered, but for the listed
// differences. Cases with other settings of the mesh are left to the Rust tests: they would concern every test here.
func TestCasesAreRoutedAsIstiodAnswered(t *testing.T) {
	c := rig.Get()
	c.InstallCRDs(t, oracleCRD)
	api, err := oracle.Open(c.KubeconfigPath)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := oracle.Cases()
	if err != nil {
		t.Fatal(err)
	}
	usual := oracle.Usual(cases)
	expected, err := oracle.Expected("../oracle/answers", "cases")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Leave(usual.Namespaces); err != nil {
			t.Error(err)
		}
	})
	if err := api.ApplyAll(append(oracle.Base(), usual.Objects...), usual.Doomed); err != nil {
		t.Fatal(err)
	}
	if err := api.RemoveAll(usual.Gone); err != nil {
		t.Fatal(err)
	}
	strait := c.Strait(t, rig.Strait{Config: oracle.StraitConfig, Node: oracle.GatewayNode})
	strait.WaitReady(t)
	names := oracle.Strait{URL: "http://" + strait.Address(15000)}.Names
	var surprises []oracle.Difference
	if !rig.Within(noticed, func() bool {
		now, err := names()
		if err != nil {
			t.Fatal(err)
		}
		surprises = oracle.Compare(expected, now.Of(usual.Namespaces), nil, nil)
		return len(surprises) == 0
	}) {
		for _, one := range surprises {
			t.Errorf("%s: strait %v, expected %v", one.Name, one.Strait, one.Istiod)
		}
	}
}
