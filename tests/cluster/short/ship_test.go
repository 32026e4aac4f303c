package short

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"strait.dev/tests/cluster/rig"
)

// The API server judges what no schema says: names that are too long, ports that are there twice, admission by the
// namespace's security standard.
func TestTheAPITakesTheHelmChartWithAllItsObjects(t *testing.T) {
	c := rig.Get()
	// With this label the API warns of a Deployment whose pods the security standard refuses.
	ns := c.Namespace(t, "chart", map[string]string{"pod-security.kubernetes.io/warn": "restricted"})
	for name, values := range map[string][]string{
		"default":    nil,
		"network":    {"--set", "network=network1"},
		"other-name": {"--set", "nameOverride=edge,autoscaling.enabled=false,service.type=ClusterIP"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "objects.yaml")
			arguments := append([]string{"template", "strait-" + name, filepath.Join(rig.Root(), "config/helm/strait"), "--namespace", ns}, values...)
			helm := exec.Command(os.Getenv("STRAIT_KUBERNETES")+"/helm", arguments...)
			helm.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
			objects, err := helm.Output()
			if err != nil {
				t.Fatalf("helm %v: %v", arguments, err)
			}
			if err := os.WriteFile(file, objects, 0o600); err != nil {
				t.Fatal(err)
			}
			c.Kubectl(t, "apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", file)
		})
	}
}
