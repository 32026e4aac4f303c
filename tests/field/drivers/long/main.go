// Clients and servers of gRPC and Kafka. Arguments and lines are those of peer.py, with the protocol after the first
// word.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const (
	topic   = "calls"
	timeout = 30 * time.Second
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func serve(protocol, cert, key string, places []string) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	check(err)
	versions := map[string]uint16{"12": tls.VersionTLS12, "13": tls.VersionTLS13}
	for _, place := range places {
		port, kind, _ := strings.Cut(place, ":")
		config := &tls.Config{
			Certificates:           []tls.Certificate{pair},
			MinVersion:             versions[kind[:2]],
			MaxVersion:             versions[kind[:2]],
			SessionTicketsDisabled: kind[2] == 'n',
		}
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		check(err)
		if protocol == "grpc" {
			server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
			grpc_health_v1.RegisterHealthServer(server, health.NewServer())
			go server.Serve(listener)
			continue
		}
		_, err = kfake.NewCluster(
			kfake.NumBrokers(1),
			kfake.SeedTopics(1, topic),
			kfake.ListenFn(func(_, _ string) (net.Listener, error) { return tls.NewListener(listener, config), nil }),
		)
		check(err)
	}
	io.Copy(io.Discard, os.Stdin)
}

type batch struct {
	name, path, resume, notify, first string
	calls                             int
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
func dial(config *tls.Config, port string, b batch) dialer {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialer := tls.Dialer{Config: config}
		stream, err := dialer.DialContext(ctx, "tcp", b.name+":"+port)
		if err != nil {
			return nil, err
		}
		return conn{stream.(*tls.Conn), b.notify == "no"}, nil
	}
}

func callGRPC(dial dialer, b batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client, err := grpc.NewClient(
		"passthrough:///"+b.name,
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

func callKafka(dial dialer, b batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(b.name+":9092"), kgo.Dialer(dial), kgo.ConsumeTopics(topic),
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
		serve(os.Args[2], os.Args[3], os.Args[4], os.Args[5:])
		return
	}
	call := map[string]func(dialer, batch) error{"grpc": callGRPC, "kafka": callKafka}[os.Args[2]]
	pem, err := os.ReadFile(os.Args[3])
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var b batch
		_, err := fmt.Sscan(lines.Text(), &b.name, &b.path, &b.resume, &b.notify, &b.first, &b.calls)
		check(err)
		config := &tls.Config{RootCAs: pool, ServerName: b.name}
		if os.Args[2] == "grpc" {
			config.NextProtos = []string{"h2"}
		}
		if b.resume == "yes" {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
		done, problem := 0, ""
		for n := 0; n < b.calls; n++ {
			if err := call(dial(config, os.Args[4], b), b); err != nil {
				problem = err.Error()
			} else {
				done++
			}
		}
		fmt.Println(done, strings.ReplaceAll(problem, "\n", " "))
	}
}
