package short

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// The pod's sysctl, the config's ports and the Service's port: without one of them the listener is not Programmed, or the
// call does not arrive.
func TestAGatewayOnPort443IsServedByTheManifestsAsTheyAre(t *testing.T) {
	c := rig.Get()
	account := c.ManifestsAccount(t)
	const sysctl = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
	before, err := os.ReadFile(sysctl)
	if err != nil {
		t.Fatal(err)
	}
	value := c.Kubectl(t, "-n", "strait", "get", "deployment", "strait", "-o",
		`jsonpath={.spec.template.spec.securityContext.sysctls[?(@.name=="net.ipv4.ip_unprivileged_port_start")].value}`)
	for _, value := range []string{"1024", strings.TrimSpace(value)} {
		if err := os.WriteFile(sysctl, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.WriteFile(sysctl, before, 0o644) })
	ns := c.Namespace(t, "apps", nil)
	host := fmt.Sprintf("svcc.%s.port443.example", ns)
	c.Apply(t, account.GatewayClass(), rig.TLSGateway(account, "port-443", 443, "*.port443.example"),
		rig.Service(ns, "svcc", 443), rig.TLSRoute(ns, "svcc", "strait/port-443", host, "svcc"))
	t.Cleanup(func() { c.Delete(t, rig.TLSGateway(account, "port-443", 443, "")) })
	pod := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcc-0", Labels: map[string]string{"app": "svcc"}})
	g := c.Strait(t, rig.Strait{})
	g.WaitReady(t)
	waitConditions(t, "Gateway", "strait", "port-443", map[string]string{"tls Programmed": "True/Programmed"})
	var last string
	if !rig.Within(wait, func() bool {
		answer, err := rig.Call{To: g.Address(443), SNI: host}.Do()
		last = fmt.Sprintf("%+v, %v", answer, err)
		return err == nil && answer.IP == pod.IP
	}) {
		t.Fatalf("a call of port 443 gave %s", last)
	}
}
