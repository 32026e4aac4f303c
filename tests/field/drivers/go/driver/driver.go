// Package driver has the parts that all clients and servers in Go share. Arguments and lines are those of peer.py.
package driver

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
)

// Batch is some calls of one kind.
type Batch struct {
	Name, Path, Resume, Notify, First string
	Calls                             int
}

// Check ends the program if there is an error.
func Check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Serve listens at each place, and serves there until standard input ends.
func Serve(cert, key string, places []string, serve func(net.Listener, *tls.Config)) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	Check(err)
	versions := map[string]uint16{"12": tls.VersionTLS12, "13": tls.VersionTLS13}
	for _, place := range places {
		port, kind, _ := strings.Cut(place, ":")
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		Check(err)
		serve(listener, &tls.Config{
			Certificates:           []tls.Certificate{pair},
			MinVersion:             versions[kind[:2]],
			MaxVersion:             versions[kind[:2]],
			SessionTicketsDisabled: kind[2] == 'n',
		})
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// Call makes the calls of each batch of standard input, and prints how many succeeded and the last error.
func Call(authorities string, call func(*tls.Config, Batch) error) {
	pem, err := os.ReadFile(authorities)
	Check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var b Batch
		_, err := fmt.Sscan(lines.Text(), &b.Name, &b.Path, &b.Resume, &b.Notify, &b.First, &b.Calls)
		Check(err)
		config := &tls.Config{RootCAs: pool, ServerName: b.Name}
		if b.Resume == "yes" {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
		done, problem := 0, ""
		for n := 0; n < b.Calls; n++ {
			if err := call(config, b); err != nil {
				problem = err.Error()
			} else {
				done++
			}
		}
		fmt.Println(done, strings.ReplaceAll(problem, "\n", " "))
	}
}
