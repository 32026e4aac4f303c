//go:build istiod

package migration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"strait.dev/tests/cluster/node"
	"strait.dev/tests/cluster/oracle/istiod"
	"strait.dev/tests/cluster/rig"
)

// istioName is the name of Istio's gateway: of its release, Service and Deployment.
const istioName = "istio-eastwestgateway"

// mesh is the settings of the mesh. There are no telemetry providers, since those need filters of Istio's own build of Envoy.
const mesh = `apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |
    trustDomain: cluster.local
    rootNamespace: istio-system
    enableAutoMtls: true
    defaultConfig: { discoveryAddress: "istiod.istio-system.svc:15012" }
`

// gatewayValues are the values of Istio's chart `gateway`. The injector would add the probe, which needs a webhook.
const gatewayValues = `name: istio-eastwestgateway
networkGateway: network1
autoscaling: { enabled: false }
replicaCount: 2
terminationGracePeriodSeconds: 60
podAnnotations:
  proxy.istio.io/config: "terminationDrainDuration: %s"
  inject.istio.io/templates: gateway
  sidecar.istio.io/inject: "true"
readinessProbe:
  httpGet: { path: /healthz/ready, port: 15021 }
  periodSeconds: 15
  timeoutSeconds: 3
  failureThreshold: 4
`

// startIstiod starts istiod without what Istio's own build of Envoy has and the published one has not.
func startIstiod(t *testing.T, c *rig.Cluster) {
	t.Helper()
	// Every process of the rig looks names up here, since there is no DNS.
	hosts := filepath.Join(t.TempDir(), "hosts")
	text := fmt.Sprintf("127.0.0.1 localhost\n%s istiod.istio-system.svc\n", rig.APIHost)
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "--bind", hosts, "/etc/hosts").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.NamespaceNamed(t, "istio-system", map[string]string{node.NetworkLabel: "network1"})
	c.Apply(t, mesh)
	process, err := istiod.Start(needed(t, "STRAIT_ISTIOD"), c.KubeconfigPath, rig.Dir,
		"PILOT_ENABLE_ALPN_FILTER=false", "PILOT_ENABLE_METADATA_EXCHANGE=false")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)
}

// installGateway is Istio's own east-west gateway: its chart, and the Gateway of its documentation that shows every Service.
func installGateway(t *testing.T, c *rig.Cluster, drain string) {
	t.Helper()
	module := needed(t, "STRAIT_ISTIO")
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, fmt.Appendf(nil, gatewayValues, drain), 0o644); err != nil {
		t.Fatal(err)
	}
	helm := exec.Command(os.Getenv("STRAIT_KUBERNETES")+"/helm", "template", istioName, module+"/manifests/charts/gateway",
		"--namespace", "istio-system", "--values", values)
	rendered, err := helm.Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, rendered, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "apply", "-n", "istio-system", "-f", file, "-f", module+"/samples/multicluster/expose-services.yaml")
}

// proxy is the image of sidecars and of Istio's gateway, which trust a root certificate. The role is "sidecar" or "router".
func proxy(t *testing.T, role, root string) node.Image {
	t.Helper()
	// Its user may not look into every folder on the way to them.
	agent, envoy := rig.Dir+"/pilot-agent-"+role, rig.Dir+"/envoy-"+role
	for name, path := range map[string]string{"STRAIT_PILOT_AGENT": agent, "STRAIT_ENVOY": envoy} {
		if err := rig.Bind(needed(t, name), path); err != nil {
			t.Fatal(err)
		}
	}
	bootstrap, err := os.ReadFile(needed(t, "STRAIT_ISTIO") + "/tools/packaging/common/envoy_bootstrap.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(pod *node.Pod) (*rig.Process, error) {
		if role == "sidecar" {
			out, err := pod.Command(agent, "istio-iptables", "--native-nftables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT",
				"-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020").CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("pilot-agent istio-iptables: %w\n%s", err, out)
			}
		}
		environment, files, err := proxyFiles(pod, envoy)
		if err != nil {
			return nil, err
		}
		files["var/run/secrets/istio/root-cert.pem"], files["bootstrap.json"] = root, string(bootstrap)
		if err := pod.Write(files); err != nil {
			return nil, err
		}
		for _, folder := range []string{"etc/istio/proxy", "etc/istio/pod", "var/run/secrets/workload-spiffe-uds"} {
			if err := os.MkdirAll(filepath.Join(pod.Folder, folder), 0o755); err != nil {
				return nil, err
			}
		}
		if out, err := exec.Command("chown", "-R", "1337:1337", pod.Folder).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		return pod.Program(environment, "setpriv", "--reuid=1337", "--regid=1337", "--clear-groups",
			agent, "proxy", role, "--domain", pod.Namespace+".svc.cluster.local", "--proxyLogLevel=warning",
			"--proxyComponentLogLevel=misc:error", "--log_output_level=default:info"), nil
	}
}

// proxyFiles are the environment that the injector gives a proxy, and its token.
func proxyFiles(pod *node.Pod, envoy string) ([]string, map[string]string, error) {
	token, err := pod.Token("istio-ca")
	if err != nil {
		return nil, nil, err
	}
	config := map[string]any{}
	if err := yaml.Unmarshal([]byte(pod.Annotations["proxy.istio.io/config"]), &config); err != nil {
		return nil, nil, err
	}
	config["discoveryAddress"], config["binaryPath"], config["concurrency"] = "istiod.istio-system.svc:15012", envoy, 1
	proxyConfig, err := json.Marshal(config)
	if err != nil {
		return nil, nil, err
	}
	labels, err := json.Marshal(pod.Labels)
	if err != nil {
		return nil, nil, err
	}
	environment := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + pod.Folder, "POD_NAME=" + pod.Name, "POD_NAMESPACE=" + pod.Namespace, "INSTANCE_IP=" + pod.IP,
		"HOST_IP=" + node.HostIP, "SERVICE_ACCOUNT=" + pod.Spec.ServiceAccountName, "PROXY_CONFIG=" + string(proxyConfig),
		"CA_ADDR=istiod.istio-system.svc:15012", "TRUST_DOMAIN=cluster.local", "PILOT_CERT_PROVIDER=istiod",
		"ISTIO_BOOTSTRAP=" + pod.Folder + "/bootstrap.json", "ISTIO_METAJSON_LABELS=" + string(labels), "ISTIO_META_CLUSTER_ID=" + istiod.ClusterID,
		"ISTIO_META_NETWORK=" + pod.Labels[node.NetworkLabel], "ISTIO_META_WORKLOAD_NAME=" + pod.Name, "ISTIO_META_NODE_NAME=" + pod.Spec.NodeName,
		"ISTIO_META_INTERCEPTION_MODE=REDIRECT",
	}
	for _, variable := range pod.Spec.Containers[0].Env {
		environment = append(environment, variable.Name+"="+variable.Value)
	}
	return environment, map[string]string{"var/run/secrets/tokens/istio-token": token}, nil
}

// rootCertificate waits for the one that istiod writes into every namespace.
func rootCertificate(t *testing.T, c *rig.Cluster) string {
	t.Helper()
	var text string
	rig.Eventually(t, "istiod's root certificate", time.Minute, func() bool {
		found, err := c.Client.CoreV1().ConfigMaps("istio-system").Get(t.Context(), "istio-ca-root-cert", meta.GetOptions{})
		if err == nil {
			text = found.Data["root-cert.pem"]
		}
		return strings.Contains(text, "CERTIFICATE")
	})
	return text
}
