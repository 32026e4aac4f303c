// Package long is the long tier: what takes an hour, or more objects than a run of tests/run has time for. Each test
// logs its figures.
//
//	go test ./long -v -timeout 3h -run TestName FLAGS
package long

import (
	"testing"

	"strait.dev/tests/cluster/rig"
)

func TestMain(m *testing.M) { rig.Main(m, rig.Options{CRDs: rig.AllCRDs}) }
