package rig

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

const maxUplinks = 8

var uplinks atomic.Int64

func uplinkHost(n int) string { return fmt.Sprintf("10.96.%d.2", n) }

// Uplink is another way to the API: a relay in a network namespace beyond a cable (a veth pair). It can fail as networks
// and load balancers do.
type Uplink struct {
	// Host is the address for Strait.APIHost; the port is APIPort.
	Host string

	near string
	// far is the path of the namespace beyond the cable.
	far      string
	limit    atomic.Int64
	stalled  atomic.Int64
	accepted atomic.Int64
	gone     chan struct{}
}

// Uplink makes one for this test. A program has at most 8.
func (c *Cluster) Uplink(t testing.TB) *Uplink {
	t.Helper()
	n := int(uplinks.Add(1)) - 1
	if n >= maxUplinks {
		t.Fatal("rig: too many uplinks; raise maxUplinks")
	}
	link := &Uplink{Host: uplinkHost(n), near: fmt.Sprintf("up%d", n), gone: make(chan struct{})}
	listener, err := link.connect(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listener.Close()
		close(link.gone)
		_ = ip("link del " + link.near)
	})
	go link.accept(listener)
	return link
}

// connect makes the other namespace and the cable, and listens there.
func (u *Uplink) connect(n int) (net.Listener, error) {
	type result struct {
		listener net.Listener
		err      error
	}
	made := make(chan result)
	go func() {
		// The thread is in the new namespace, so it must serve nothing else. The socket stays in that namespace.
		runtime.LockOSThread()
		listener, err := func() (net.Listener, error) {
			if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
				return nil, err
			}
			thread := make(chan error)
			far := syscall.Gettid()
			u.far = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), far)
			go func() {
				thread <- ip(
					fmt.Sprintf("link add %s type veth peer name far netns %d", u.near, far),
					fmt.Sprintf("addr add 10.96.%d.1/30 dev %s", n, u.near),
					fmt.Sprintf("link set %s up", u.near),
				)
			}()
			if err := <-thread; err != nil {
				return nil, err
			}
			if err := ip(fmt.Sprintf("addr add %s/30 dev far", u.Host), "link set far up", "link set lo up"); err != nil {
				return nil, err
			}
			var listen net.ListenConfig
			return listen.Listen(context.Background(), "tcp4", fmt.Sprintf("%s:%d", u.Host, APIPort))
		}()
		made <- result{listener, err}
		// The namespace lives as long as the thread.
		<-u.gone
	}()
	got := <-made
	return got.listener, got.err
}

// Pull takes the cable out: packets vanish in both directions.
func (u *Uplink) Pull(t testing.TB) {
	t.Helper()
	// The near end keeps its route; without a carrier it drops what is sent.
	u.setFar(t, "down")
}

// Plug puts the cable in again.
func (u *Uplink) Plug(t testing.TB) {
	t.Helper()
	u.setFar(t, "up")
}

func (u *Uplink) setFar(t testing.TB, to string) {
	t.Helper()
	if out, err := exec.Command("nsenter", "--net="+u.far, "ip", "link", "set", "far", to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// StallAfter makes each connection silent, without an end, once so many bytes of the API have passed. 0 undoes it for
// new and for stalled connections.
func (u *Uplink) StallAfter(bytes int64) { u.limit.Store(bytes) }

// Stalled is the number of connections that have become silent.
func (u *Uplink) Stalled() int64 { return u.stalled.Load() }

// Accepted is the number of connections so far.
func (u *Uplink) Accepted() int64 { return u.accepted.Load() }

func (u *Uplink) accept(listener net.Listener) {
	for {
		down, err := listener.Accept()
		if err != nil {
			return
		}
		u.accepted.Add(1)
		go u.relay(down)
	}
}

func (u *Uplink) relay(down net.Conn) {
	defer down.Close()
	up, err := net.Dial("tcp4", net.JoinHostPort(APIHost, fmt.Sprint(APIPort)))
	if err != nil {
		return
	}
	defer up.Close()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(up, down); _ = up.(*net.TCPConn).CloseWrite() })
	both.Go(func() { u.limited(down, up); _ = down.(*net.TCPConn).CloseWrite() })
	both.Wait()
}

func (u *Uplink) limited(down, up net.Conn) {
	buffer, passed := make([]byte, 16<<10), int64(0)
	for {
		n, err := up.Read(buffer)
		if err != nil {
			return
		}
		passed += int64(n)
		if most := u.limit.Load(); most > 0 && passed > most {
			u.stalled.Add(1)
			for u.limit.Load() > 0 {
				select {
				case <-u.gone:
					return
				case <-tick():
				}
			}
			u.stalled.Add(-1)
		}
		if _, err := down.Write(buffer[:n]); err != nil {
			return
		}
	}
}
