// Package short is the short tier: strait against a real control plane, in every run of tests/run.
package short

import (
	"testing"

	"strait.dev/tests/cluster/rig"
)

func TestMain(m *testing.M) { rig.Main(m, rig.Options{CRDs: rig.AllCRDs}) }
