// Clients and servers of gRPC and Kafka. Arguments and lines are those of peer.py, with the protocol after the first
// word.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"strait.test/peer/driver"
)

const (
	topic   = "calls"
	timeout = 30 * time.Second
	// The time for which a server that closes first waits for the next request. At that age of a connection a server of
	// gRPC asks its client to close it. Either may come first.
	leaving = 500 * time.Millisecond
)

// The answer of a server that closes first, or that says no close_notify, hangs on the server name: see server_name in
// pairs.rs.
func closesFirst(name string) bool { return strings.Contains(name, "-server-") }
func isQuiet(name string) bool     { return strings.Contains(name, "-cut-") }

// A connection that may close without a close_notify. A server's may do so when nothing has come for a time after an
// answer.
type conn struct {
	*tls.Conn
	quiet bool
	idle  time.Duration
	once  sync.Once
	ended chan struct{}
}

func newConn(stream *tls.Conn, quiet bool) *conn {
	return &conn{Conn: stream, quiet: quiet, ended: make(chan struct{})}
}

func (c *conn) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	if n > 0 && c.idle > 0 {
		c.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (c *conn) Write(from []byte) (int, error) {
	if c.idle > 0 {
		c.SetReadDeadline(time.Now().Add(c.idle))
	}
	return c.Conn.Write(from)
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.ended) })
	if c.quiet {
		return c.NetConn().Close()
	}
	return c.Conn.Close()
}

// A client's connection that closes without a close_notify. It reads until the server closes too: a close before that is
// a reset if something has come that nobody read, such as gRPC's answer to a ping.
type cut struct{ *conn }

func (c cut) Close() error {
	c.once.Do(func() {
		close(c.ended)
		raw := c.NetConn().(*net.TCPConn)
		raw.CloseWrite()
		go func() {
			defer raw.Close()
			raw.SetReadDeadline(time.Now().Add(timeout))
			io.Copy(io.Discard, raw)
		}()
	})
	return nil
}

// Whether the other side has closed, or has said that it will. Nothing is read.
func (c *conn) isLeft() bool {
	raw, err := c.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	left := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		left = err != syscall.EAGAIN
	})
	return left || err != nil
}

// Connections that have been accepted elsewhere.
type queue struct {
	net.Listener
	conns chan net.Conn
}

func (q queue) Accept() (net.Conn, error) { return <-q.conns, nil }

// Accepts TLS, and hands each connection to one of two listeners: that of the server that closes first is the second.
func byName(listener net.Listener, config *tls.Config) [2]queue {
	config.NextProtos = []string{"h2"}
	queues := [2]queue{{listener, make(chan net.Conn)}, {listener, make(chan net.Conn)}}
	accept := func(raw net.Conn) {
		stream := tls.Server(raw, config)
		if stream.Handshake() != nil {
			stream.Close()
			return
		}
		name := stream.ConnectionState().ServerName
		to, conn := queues[0], newConn(stream, isQuiet(name))
		if closesFirst(name) {
			to, conn.idle = queues[1], leaving
		}
		to.conns <- conn
	}
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go accept(raw)
		}
	}()
	return queues
}

func serveGRPC(listener net.Listener, config *tls.Config) {
	queues := byName(listener, config)
	aged := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: leaving})
	for place, server := range []*grpc.Server{grpc.NewServer(), grpc.NewServer(aged)} {
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		go server.Serve(queues[place])
	}
}

func serveKafka(listener net.Listener, config *tls.Config) {
	for _, queue := range byName(listener, config) {
		_, err := kfake.NewCluster(
			kfake.NumBrokers(1),
			kfake.SeedTopics(1, topic),
			kfake.ListenFn(func(_, _ string) (net.Listener, error) { return queue, nil }),
		)
		driver.Check(err)
	}
}

// Dials, and remembers the connections. Every address is behind the gateway, also those that a broker names.
type dialer struct {
	config *tls.Config
	port   string
	batch  driver.Batch
	lock   sync.Mutex
	conns  []*conn
}

func (d *dialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	dialer := tls.Dialer{Config: d.config}
	stream, err := dialer.DialContext(ctx, "tcp", d.batch.Name+":"+d.port)
	if err != nil {
		return nil, err
	}
	conn := newConn(stream.(*tls.Conn), false)
	d.lock.Lock()
	defer d.lock.Unlock()
	d.conns = append(d.conns, conn)
	if d.batch.Notify == "no" {
		return cut{conn}, nil
	}
	return conn, nil
}

// Waits until the server has closed all connections, or the client because the server has asked for it. reads: the
// client reads all the time, so that it notices by itself.
func (d *dialer) untilLeft(ctx context.Context, reads bool) error {
	d.lock.Lock()
	conns := d.conns
	d.lock.Unlock()
	for _, conn := range conns {
		for open := true; open; {
			select {
			case <-conn.ended:
				open = false
			case <-time.After(5 * time.Millisecond):
				open = reads || !conn.isLeft()
			case <-ctx.Done():
				return fmt.Errorf("the server does not close: %w", ctx.Err())
			}
		}
	}
	return nil
}

func callGRPC(ctx context.Context, d *dialer) error {
	client, err := grpc.NewClient(
		"passthrough:///"+d.batch.Name,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return d.dial(ctx, "tcp", address) }),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := grpc_health_v1.NewHealthClient(client).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("%v", answer)
	}
	if d.batch.First == "server" {
		return d.untilLeft(ctx, true)
	}
	return nil
}

func callKafka(ctx context.Context, d *dialer) error {
	options := []kgo.Opt{kgo.SeedBrokers(d.batch.Name + ":9092"), kgo.Dialer(d.dial)}
	serverFirst := d.batch.First == "server"
	if serverFirst {
		// As it closes the client sends its figures, which a broker that has closed would answer with a reset.
		options = append(options, kgo.DisableClientMetrics())
	} else {
		options = append(options, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("called")}).FirstErr(); err != nil {
		return err
	}
	// A consumer asks without a pause, so a broker has no reason to close.
	if serverFirst {
		return d.untilLeft(ctx, false)
	}
	fetched := client.PollFetches(ctx)
	if err := fetched.Err(); err != nil {
		return err
	}
	if fetched.NumRecords() == 0 {
		return fmt.Errorf("no record came")
	}
	return nil
}

func main() {
	if os.Args[1] == "serve" {
		serve := map[string]func(net.Listener, *tls.Config){"grpc": serveGRPC, "kafka": serveKafka}[os.Args[2]]
		driver.Serve(os.Args[3], os.Args[4], os.Args[5:], serve)
		return
	}
	call := map[string]func(context.Context, *dialer) error{"grpc": callGRPC, "kafka": callKafka}[os.Args[2]]
	driver.Call(os.Args[3], func(config *tls.Config, b driver.Batch) error {
		if os.Args[2] == "grpc" {
			config.NextProtos = []string{"h2"}
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		return call(ctx, &dialer{config: config, port: os.Args[4], batch: b})
	})
}
