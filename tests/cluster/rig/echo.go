package rig

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync/atomic"
)

// EchoPort is the port of the echo server, on every address.
const EchoPort = 8443

// Answer is the line of JSON that the echo server sends first on each connection.
type Answer struct {
	// IP is the address that the connection came to, so it names the pod.
	IP, SNI, ALPN string
}

// Echo is a TLS server that says which address it was reached at, and then echoes.
type Echo struct {
	listener    net.Listener
	certificate tls.Certificate
	connections atomic.Int64
}

func newEcho(address string) (*Echo, error) {
	certificate, err := selfSigned()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	echo := &Echo{listener: listener, certificate: certificate}
	go echo.accept()
	return echo, nil
}

// Echo is the echo server of all pods.
func (c *Cluster) Echo() *Echo { return c.echo }

// Connections is the number of connections so far.
func (e *Echo) Connections() int64 { return e.connections.Load() }

func (e *Echo) accept() {
	for {
		raw, err := e.listener.Accept()
		if err != nil {
			return
		}
		e.connections.Add(1)
		go e.serve(raw)
	}
}

func (e *Echo) serve(raw net.Conn) {
	defer raw.Close()
	answer := Answer{IP: raw.LocalAddr().(*net.TCPAddr).IP.String()}
	connection := tls.Server(raw, &tls.Config{
		Certificates: []tls.Certificate{e.certificate}, SessionTicketsDisabled: true,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			answer.SNI, answer.ALPN = hello.ServerName, strings.Join(hello.SupportedProtos, ",")
			return nil, nil
		},
	})
	if connection.Handshake() != nil {
		return
	}
	line, _ := json.Marshal(answer)
	if _, err := connection.Write(append(line, '\n')); err != nil {
		return
	}
	_, _ = io.Copy(connection, connection)
}
