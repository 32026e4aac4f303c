package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Network is a network of pods: a bridge whose address is their router. Networks do not reach each other's pods. They
// reach the addresses of load balancers, and everything that the rig itself serves.
type Network struct {
	Name   string
	bridge string
	// prefix is the first two bytes of its addresses.
	prefix string
	hosts  atomic.Int64
}

var cables atomic.Int64

// NewNetworks makes networks with these names. The N-th has 10.(110+N).0.0/16.
func NewNetworks(names ...string) (map[string]*Network, error) {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return nil, err
	}
	networks := map[string]*Network{}
	rules := "table ip networks {\n chain between {\n  type filter hook forward priority 0;\n  ct status dnat accept;\n"
	for n, name := range names {
		network := &Network{Name: name, bridge: fmt.Sprintf("net%d", n), prefix: fmt.Sprintf("10.%d", 110+n)}
		network.hosts.Store(1)
		err := ip(
			"link add "+network.bridge+" type bridge",
			fmt.Sprintf("addr add %s.0.1/16 dev %s", network.prefix, network.bridge),
			"link set "+network.bridge+" up",
		)
		if err != nil {
			return nil, err
		}
		networks[name] = network
		rules += fmt.Sprintf("  iifname %q oifname != %q drop;\n", network.bridge, network.bridge)
	}
	return networks, nft(rules + " }\n}\n")
}

// Space is the network namespace of a pod.
type Space struct {
	// IP is the pod's address.
	IP   string
	name string
	file *os.File
}

// Join makes a network namespace with an address of the network.
func (n *Network) Join(name string) (*Space, error) {
	host := n.hosts.Add(1)
	space := &Space{IP: fmt.Sprintf("%s.%d.%d", n.prefix, host/256, host%256), name: name}
	cable := fmt.Sprintf("pod%d", cables.Add(1))
	err := ip(
		"netns add "+name,
		fmt.Sprintf("-n %s link set lo up", name),
		fmt.Sprintf("link add %s type veth peer name eth0 netns %s", cable, name),
		fmt.Sprintf("link set %s master %s up", cable, n.bridge),
		fmt.Sprintf("-n %s addr add %s/16 dev eth0", name, space.IP),
		fmt.Sprintf("-n %s link set eth0 up", name),
		fmt.Sprintf("-n %s route add default via %s.0.1", name, n.prefix),
	)
	if err != nil {
		return nil, err
	}
	space.file, err = os.Open(space.path())
	return space, err
}

func (s *Space) path() string { return "/run/netns/" + s.name }

// Leave removes the namespace. Sockets that are still open keep it alive.
func (s *Space) Leave() error {
	s.file.Close()
	return ip("netns del " + s.name)
}

// Command is a command that runs in the namespace. Its process is that of the program itself.
func (s *Space) Command(words ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + s.path()}, words...)...)
}

// In runs a function on a thread in the namespace. Sockets that it makes belong to the namespace for good. It must start
// no goroutine that makes one.
func (s *Space) In(do func() error) error {
	done := make(chan error)
	go func() {
		// The thread is never used for anything else: it ends with the goroutine that locked it.
		runtime.LockOSThread()
		if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", s.name, err)
			return
		}
		done <- do()
	}()
	return <-done
}

// Dial connects from the pod, to an address of IPv4.
func (s *Space) Dial(ctx context.Context, _, address string) (connection net.Conn, err error) {
	err = s.In(func() (err error) {
		connection, err = (&net.Dialer{}).DialContext(ctx, "tcp4", address)
		return err
	})
	return connection, err
}

// Listen listens in the pod, on a port of all its addresses of IPv4.
func (s *Space) Listen(port int) (listener net.Listener, err error) {
	err = s.In(func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		return err
	})
	return listener, err
}

// Sysctl sets a parameter of the namespace, such as net.ipv4.ip_local_port_range.
func (s *Space) Sysctl(name, value string) error {
	return s.In(func() error {
		return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0o644)
	})
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

// nft takes rules in nftables' language. It takes all of them or none.
func nft(rules string) error {
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(rules)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s\n%s", err, out, rules)
	}
	return nil
}
