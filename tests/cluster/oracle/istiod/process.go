// Package istiod runs istiod without the rest of Istio, and asks it what its own east-west gateway would route.
package istiod

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// ClusterID is the name of the cluster that istiod runs for.
	ClusterID = "cluster-1"
	// The port for clients of the mesh's own control plane, without TLS.
	plainPort = "127.0.0.1:15010"
	// The time that istiod may take to start, on a busy machine.
	startTime = 2 * time.Minute
)

// Process is a running pilot-discovery.
type Process struct {
	command *exec.Cmd
	ended   chan struct{}
}

// Start starts istiod for the API of a kubeconfig. It reads the settings of the mesh from the ConfigMap `istio` of
// istio-system, as strait does. Its log is a file of the folder. The settings are variables of its environment, each KEY=VALUE.
func Start(binary, kubeconfig, folder string, settings ...string) (*Process, error) {
	log, err := os.Create(filepath.Join(folder, "istiod.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(binary, "discovery", "--kubeconfig", kubeconfig, "--clusterID", ClusterID,
		"--domain", "cluster.local", "--keepaliveMaxServerConnectionAge", "24h", "--log_output_level", "default:warn")
	// Without these istiod waits for webhooks and for its own Service.
	command.Env = append(append(os.Environ(), settings...), "POD_NAMESPACE=istio-system", "POD_NAME=istiod-1", "CLUSTER_ID="+ClusterID,
		"VALIDATION_WEBHOOK_CONFIG_NAME=", "INJECTION_WEBHOOK_CONFIG_NAME=", "ISTIOD_CUSTOM_HOST=istiod.istio-system.svc")
	command.Dir, command.Stdout, command.Stderr = folder, log, log
	// Without Pdeathsig, which would end istiod with the thread of Go's that happens to start it. It ends with the rig's process namespace.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	process := &Process{command: command, ended: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(process.ended)
	}()
	for begin := time.Now(); time.Since(begin) < startTime; time.Sleep(100 * time.Millisecond) {
		select {
		case <-process.ended:
			return nil, fmt.Errorf("istiod ended at once; see %s", log.Name())
		default:
		}
		if connection, err := net.Dial("tcp", plainPort); err == nil {
			connection.Close()
			return process, nil
		}
	}
	process.Stop()
	return nil, fmt.Errorf("istiod does not listen after %v; see %s", startTime, log.Name())
}

// Stop ends istiod.
func (p *Process) Stop() {
	_ = p.command.Process.Kill()
	<-p.ended
}

// Connect opens the stream of a gateway.
func (p *Process) Connect() (*Gateway, error) { return Connect(plainPort) }
