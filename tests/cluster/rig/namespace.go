package rig

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inside is set in the environment of the program that runs in the namespaces.
const inside = "STRAIT_RIG_INSIDE"

// Dir is the tmpfs that holds all files of the rig.
const Dir = "/run/rig"

const dir = Dir

// accountDir is the folder of the service account in a pod.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

var shared *Cluster

// Main runs the tests of a program in namespaces of its own with a control plane, and ends the process.
func Main(m *testing.M, options Options) {
	// Pdeathsig ends the child when this thread ends, so that must be the main one.
	runtime.LockOSThread()
	if os.Getenv(inside) == "" {
		os.Exit(enter())
	}
	os.Exit(run(m, options))
}

// Get returns the control plane that Main started.
func Get() *Cluster {
	if shared == nil {
		panic("rig: TestMain must call rig.Main")
	}
	return shared
}

// enter starts this program anew in namespaces of its own and waits for it.
func enter() int {
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), inside+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := child.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "rig: no namespaces can be made: %v; run the cluster tests as root, "+
			"or where unprivileged user namespaces are allowed\n", err)
		return 1
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		// The child is the first process of its namespace, which only SIGKILL is sure to end.
		<-signals
		_ = child.Process.Kill()
	}()
	// go test may be killed alone: then nobody reads what the tests say.
	go func() {
		for parent := os.Getppid(); os.Getppid() == parent; time.Sleep(200 * time.Millisecond) {
		}
		_ = child.Process.Kill()
	}()
	if err := child.Wait(); err != nil {
		if code := child.ProcessState.ExitCode(); code > 0 {
			return code
		}
		fmt.Fprintln(os.Stderr, "rig:", err)
		return 1
	}
	return 0
}

func run(m *testing.M, options Options) int {
	cluster, err := start(options)
	if err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		if cluster != nil {
			cluster.keepLogs()
		}
		return 1
	}
	shared = cluster
	// Most tests wait most of the time, so more run beside each other than there are processors. The command line wins,
	// since it is read later.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	defer cluster.keepLogs()
	return m.Run()
}

// prepare makes the namespaces fit to work in: /proc of its processes, a tmpfs, addresses.
func prepare() error {
	mounts := []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"none", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run", "tmpfs", 0},
	}
	if real, err := filepath.EvalSymlinks("/var/run"); err == nil && real != "/run" {
		mounts = append(mounts, mounts[2])
		mounts[3].target = "/var/run"
	}
	for _, m := range mounts {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, folder := range []string{dir, accountDir} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	return network()
}

func network() error {
	// The settings of a pod, by the manifests and by the container runtime.
	for name, value := range map[string]string{
		"ipv4/ip_local_port_range":        "16384 65535",
		"ipv4/ip_unprivileged_port_start": "0",
		"core/somaxconn":                  "4096",
		// An address must be usable at once, not after the search for another one that has it.
		"ipv6/conf/all/accept_dad":  "0",
		"ipv6/conf/lo/disable_ipv6": "0",
	} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return ip(
		"link set lo up",
		"addr add 10.98.0.1/32 dev lo",
		"route add local 10.98.0.0/16 dev lo src 10.98.0.1",
		"route add local 10.99.0.0/16 dev lo src 10.98.0.1",
		"route add local 10.100.0.0/14 dev lo src 10.98.0.1",
		"-6 addr add fd00:98::1/128 dev lo nodad",
		"-6 route add local fd00:99::/64 dev lo src fd00:98::1",
	)
}

// ip runs commands of iproute2.
func ip(commands ...string) error {
	for _, command := range commands {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, out)
		}
	}
	return nil
}
