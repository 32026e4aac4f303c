package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// APIHost and APIPort are the address of the API.
const (
	APIHost = "10.98.0.1"
	APIPort = 6443

	secondAPIHost = "10.98.0.2"
	// The API of the other cluster; see Cluster.Other.
	otherAPIHost = "10.98.0.3"
)

// Options are what a test program wants of the control plane.
type Options struct {
	// CRDs are the names of the CRDs that are installed; see AllCRDs.
	CRDs []string
	// Controllers of kube-controller-manager beyond those that Services, slices, namespaces and accounts need.
	Controllers []string
	// Flags that are added to those of a program.
	Etcd, APIServer, ControllerManager []string
	// Nodes is their number, 3 by default. Node N is "node-N" in zone "r1-a", "r1-b" or "r1-c".
	Nodes int
}

// Cluster is the control plane that the tests of a program share.
type Cluster struct {
	Etcd, APIServer, ControllerManager *Process
	// Config has the rights of an administrator.
	Config  *rest.Config
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// KubeconfigPath is a file with the same rights.
	KubeconfigPath string

	mapper  *restmapper.DeferredDiscoveryRESTMapper
	straits atomic.Int64
	pods    atomic.Int64
	names   atomic.Int64
	// host is the address of the API.
	host string
	// kube is the path of the control plane's program.
	kube    string
	options Options
	applied sync.Once
	other   otherCluster
	echo    *Echo
	// user is that of strait, 65432 unless the namespace has only one.
	user int
}

const adminToken = "rig-admin"

// The controllers that every test needs. The others of kube-controller-manager cost memory and a slower start.
var controllers = []string{
	"endpointslice-controller", "endpointslice-mirroring-controller", "namespace-controller",
	"serviceaccount-controller", "serviceaccount-token-controller", "root-ca-certificate-publisher-controller",
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
  - level: None
`

func start(options Options) (*Cluster, error) {
	kube, kubectl := os.Getenv("STRAIT_CONTROL_PLANE"), os.Getenv("STRAIT_KUBERNETES")+"/kubectl"
	for name, path := range map[string]string{"STRAIT_CONTROL_PLANE": kube, "STRAIT_KUBERNETES": kubectl, "STRAIT_BIN": os.Getenv("STRAIT_BIN")} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%s: %w; run tests/run, which builds what these tests start", name, err)
		}
	}
	if err := prepare(); err != nil {
		return nil, err
	}
	c := &Cluster{KubeconfigPath: dir + "/admin.kubeconfig", user: 65432, host: APIHost, kube: kube, options: options}
	if text, err := os.ReadFile("/proc/self/uid_map"); err == nil && strings.Fields(string(text))[2] == "1" {
		c.user = 0
	}
	keys, err := certificates(dir)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"audit.yaml": auditPolicy,
		"tokens.csv": adminToken + `,admin,admin,"system:masters"` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := c.clients(keys.authority); err != nil {
		return nil, err
	}
	if err := Bind(os.Getenv("STRAIT_BIN"), dir+"/strait"); err != nil {
		return nil, err
	}
	c.processes()
	c.straits.Store(1)
	if c.echo, err = newEcho(fmt.Sprintf("[::]:%d", EchoPort)); err != nil {
		return nil, err
	}
	for _, process := range []*Process{c.Etcd, c.APIServer, c.ControllerManager} {
		if err := process.start(3 * time.Minute); err != nil {
			return c, fmt.Errorf("%s: %w\n%s", process.Name, err, Tail(process.Log(), 20))
		}
	}
	if err := c.nodes(max(options.Nodes, 3)); err != nil {
		return c, err
	}
	if err := c.installCRDs(options.CRDs); err != nil {
		return c, err
	}
	return c, c.accountOf("default")
}

// Bind makes a file visible at another path, whatever the rights of the folders on the way to it.
func Bind(from, to string) error {
	if err := os.WriteFile(to, nil, 0o755); err != nil {
		return err
	}
	return mountBind(from, to)
}

func (c *Cluster) clients(authority []byte) error {
	c.Config = &rest.Config{
		Host:            fmt.Sprintf("https://%s:%d", c.host, APIPort),
		BearerToken:     adminToken,
		TLSClientConfig: rest.TLSClientConfig{CAData: authority},
		QPS:             -1,
		Timeout:         30 * time.Second,
	}
	if err := os.WriteFile(c.KubeconfigPath, kubeconfig(c.Config), 0o600); err != nil {
		return err
	}
	var err error
	binary := rest.CopyConfig(c.Config)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	binary.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	clientset, err := kubernetes.NewForConfig(binary)
	if err != nil {
		return err
	}
	c.Client = clientset
	if c.Dynamic, err = dynamic.NewForConfig(c.Config); err != nil {
		return err
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(clientset.Discovery()))
	return nil
}

func (c *Cluster) process(name, of string, extra []string, flags ...string) *Process {
	arguments := append(append([]string{of}, flags...), extra...)
	return &Process{Name: name, command: func() *exec.Cmd { return exec.Command(c.kube, arguments...) }}
}

func (c *Cluster) processes() {
	c.Etcd = c.process("etcd", "etcd", c.options.Etcd,
		"--data-dir", dir+"/etcd", "--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
		"--initial-cluster", "default=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level", "warn",
		"--quota-backend-bytes", fmt.Sprint(4<<30))
	c.APIServer = c.apiServer("apiserver", c.host)
	c.ControllerManager = c.controllerManager("controller-manager")
}

func (c *Cluster) controllerManager(name string, flags ...string) *Process {
	return c.process(name, "controller-manager", slices.Concat(c.options.ControllerManager, flags),
		"--kubeconfig", c.KubeconfigPath, "--leader-elect=false", "--root-ca-file", dir+"/ca.crt",
		"--service-account-private-key-file", dir+"/sa.key", "--kube-api-qps", "500", "--kube-api-burst", "1000",
		"--concurrent-service-endpoint-syncs", "20",
		"--controllers", strings.Join(slices.Concat(controllers, c.options.Controllers), ","), "--v", "1")
}

func (c *Cluster) apiServer(name, host string, flags ...string) *Process {
	process := c.process(name, "apiserver", slices.Concat(c.options.APIServer, flags),
		"--etcd-servers", "http://127.0.0.1:2379", "--bind-address", host, "--secure-port", fmt.Sprint(APIPort),
		"--advertise-address", host, "--service-cluster-ip-range", "10.97.0.0/16,fd00:97::/108",
		"--authorization-mode", "RBAC", "--token-auth-file", dir+"/tokens.csv",
		"--tls-cert-file", dir+"/api.crt", "--tls-private-key-file", dir+"/api.key", "--client-ca-file", dir+"/ca.crt",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", dir+"/sa.pub",
		"--service-account-signing-key-file", dir+"/sa.key",
		"--audit-policy-file", dir+"/audit.yaml", "--audit-log-path", fmt.Sprintf("%s/%s-audit.log", dir, name), "--v", "1")
	process.ready = func(most time.Duration) error { return c.waitAPI(process, host, most) }
	return process
}

// SecondAPIServer starts another API server on the same etcd for this test, which may stop or kill it while other tests
// run. Host is its address for Strait.APIHost. The flags are added to those of the first.
func (c *Cluster) SecondAPIServer(t testing.TB, flags ...string) (process *Process, host string) {
	t.Helper()
	host = secondAPIHost
	process = c.apiServer("apiserver-2", host, flags...)
	process.Start(t)
	t.Cleanup(func() { process.Kill(t) })
	return process, host
}

// waitAPI waits until an API server answers that it is ready.
func (c *Cluster) waitAPI(process *Process, host string, most time.Duration) error {
	config := rest.CopyConfig(c.Config)
	config.Host = fmt.Sprintf("https://%s:%d", host, APIPort)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	var last error
	if Within(most, func() bool {
		_, last = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(context.Background())
		return last == nil || !process.Running()
	}) && last == nil {
		return nil
	}
	return fmt.Errorf("the API is not ready: %w", last)
}

// accountOf waits until a namespace has its default ServiceAccount, without which no pod can be made in it.
func (c *Cluster) accountOf(namespace string) error {
	var last error
	if !Within(3*time.Minute, func() bool {
		_, last = c.Client.CoreV1().ServiceAccounts(namespace).Get(context.Background(), "default", meta.GetOptions{})
		return last == nil
	}) {
		return fmt.Errorf("namespace %s has no default ServiceAccount: %w", namespace, last)
	}
	return nil
}

func (c *Cluster) nodes(count int) error {
	for n := range count {
		node := &core.Node{ObjectMeta: meta.ObjectMeta{Name: fmt.Sprintf("node-%d", n), Labels: map[string]string{
			"kubernetes.io/hostname":        fmt.Sprintf("node-%d", n),
			"topology.kubernetes.io/region": "r1",
			"topology.kubernetes.io/zone":   "r1-" + string("abc"[n%3]),
		}}}
		_, err := c.Client.CoreV1().Nodes().Create(context.Background(), node, meta.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// keepLogs copies the logs to the folder that STRAIT_RIG_LOGS names.
func (c *Cluster) keepLogs() {
	to := os.Getenv("STRAIT_RIG_LOGS")
	if to == "" {
		return
	}
	logs, _ := filepath.Glob(dir + "/*.log")
	for _, log := range logs {
		if text, err := os.ReadFile(log); err == nil {
			_ = os.WriteFile(filepath.Join(to, filepath.Base(log)), text, 0o644)
		}
	}
}
