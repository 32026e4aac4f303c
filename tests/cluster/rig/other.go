package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// otherCluster is the second cluster of a program.
type otherCluster struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Other starts a second cluster, once in a program: an API server and a controller manager of its own. Its objects lie in the
// etcd of the first one under another prefix. It has the same nodes, and the CRDs of the program. Its pods exist only in
// its API, too; their addresses must be others than those of the first cluster.
func (c *Cluster) Other(t testing.TB) *Cluster {
	t.Helper()
	c.other.once.Do(func() { c.other.cluster, c.other.err = c.startOther() })
	if c.other.err != nil {
		t.Fatal(c.other.err)
	}
	return c.other.cluster
}

func (c *Cluster) startOther() (*Cluster, error) {
	o := &Cluster{
		Etcd: c.Etcd, KubeconfigPath: dir + "/other.kubeconfig", host: otherAPIHost, user: c.user, kube: c.kube, options: c.options,
		echo: c.echo,
	}
	if err := o.clients(c.Config.CAData); err != nil {
		return nil, err
	}
	o.APIServer = o.apiServer("other-apiserver", o.host, "--etcd-prefix", "/other")
	o.ControllerManager = o.controllerManager("other-controller-manager", "--secure-port", "10258")
	for _, process := range []*Process{o.APIServer, o.ControllerManager} {
		if err := process.start(3 * time.Minute); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", process.Name, err, Tail(process.Log(), 20))
		}
	}
	if err := o.nodes(max(c.options.Nodes, 3)); err != nil {
		return nil, err
	}
	if err := o.installCRDs(c.options.CRDs); err != nil {
		return nil, err
	}
	return o, o.accountOf("default")
}

// Reader applies config/kubernetes/other-cluster, and writes a kubeconfig with the rights that it gives to another
// cluster's strait. It returns the path.
func (c *Cluster) Reader(t testing.TB) string {
	t.Helper()
	c.Kubectl(t, "apply", "-k", filepath.Join(Root(), "config/kubernetes/other-cluster"))
	if err := c.accountOf("strait"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, c.Unique("reader")+".kubeconfig")
	c.WriteReader(t, path)
	return path
}

// WriteReader writes the kubeconfig of Reader with a new token. As the kubelet does, it replaces the file as a whole.
func (c *Cluster) WriteReader(t testing.TB, path string) {
	t.Helper()
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken = c.Token(t, "strait", "strait-reader")
	if err := os.WriteFile(path+".new", kubeconfig(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
