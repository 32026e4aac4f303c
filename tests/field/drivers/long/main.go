// Clients and servers of gRPC and Kafka. Arguments and lines are those of peer.py, with the protocol after the first
// word.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"strait.test/peer/driver"
)

const (
	topic   = "calls"
	timeout = 30 * time.Second
)

func serveGRPC(listener net.Listener, config *tls.Config) {
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(listener)
}

func serveKafka(listener net.Listener, config *tls.Config) {
	_, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.SeedTopics(1, topic),
		kfake.ListenFn(func(_, _ string) (net.Listener, error) { return tls.NewListener(listener, config), nil }),
	)
	driver.Check(err)
}

// A connection that may close without a close_notify.
type conn struct {
	*tls.Conn
	quiet bool
}

func (c conn) Close() error {
	if c.quiet {
		return c.NetConn().Close()
	}
	return c.Conn.Close()
}

type dialer func(context.Context, string, string) (net.Conn, error)

// Every address is behind the gateway, also those that a broker names.
func dial(config *tls.Config, port string, b driver.Batch) dialer {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialer := tls.Dialer{Config: config}
		stream, err := dialer.DialContext(ctx, "tcp", b.Name+":"+port)
		if err != nil {
			return nil, err
		}
		return conn{stream.(*tls.Conn), b.Notify == "no"}, nil
	}
}

func callGRPC(dial dialer, b driver.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client, err := grpc.NewClient(
		"passthrough:///"+b.Name,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return dial(ctx, "tcp", address) }),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := grpc_health_v1.NewHealthClient(client).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil && answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("%v", answer)
	}
	return err
}

func callKafka(dial dialer, b driver.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(b.Name+":9092"), kgo.Dialer(dial), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("called")}).FirstErr(); err != nil {
		return err
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
	call := map[string]func(dialer, driver.Batch) error{"grpc": callGRPC, "kafka": callKafka}[os.Args[2]]
	driver.Call(os.Args[3], func(config *tls.Config, b driver.Batch) error {
		if os.Args[2] == "grpc" {
			config.NextProtos = []string{"h2"}
		}
		return call(dial(config, os.Args[4], b), b)
	})
}
