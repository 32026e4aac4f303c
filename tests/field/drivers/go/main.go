// The client and the server of Go's crypto/tls and net/http. Arguments and lines are those of peer.py; clients are
// `tls` and `http`.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	body    = "0123456789abcdef0123456789abcdef01234567\trefs/heads/main\n"
	timeout = 20 * time.Second
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	quiet, end := strings.Contains(r.URL.Path, "quiet"), strings.HasPrefix(r.URL.Path, "/close")
	if end || r.Close {
		w.Header().Set("Connection", "close")
	}
	if !quiet || !(end || r.Close) {
		io.WriteString(w, body)
		return
	}
	conn, out, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	out.Flush()
	// Without a close_notify.
	conn.(*tls.Conn).NetConn().Close()
}

func serve(cert, key string, places []string) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	check(err)
	versions := map[string]uint16{"12": tls.VersionTLS12, "13": tls.VersionTLS13}
	quiet := log.New(io.Discard, "", 0)
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
		server := &http.Server{Handler: http.HandlerFunc(answer), TLSConfig: config, ErrorLog: quiet}
		go server.Serve(tls.NewListener(listener, config))
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

type batch struct {
	name, path, resume, notify, first string
	calls                             int
}

func callTLS(config *tls.Config, port string, b batch) error {
	dialer := &net.Dialer{Timeout: timeout}
	raw, err := dialer.Dial("tcp", b.name+":"+port)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(timeout))
	config = config.Clone()
	config.ServerName = b.name
	stream := tls.Client(raw, config)
	keep := "keep-alive"
	if b.first == "server" {
		keep = "close"
	}
	if _, err := fmt.Fprintf(stream, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n\r\n", b.path, b.name, keep); err != nil {
		return err
	}
	var got []byte
	part := make([]byte, 4096)
	for !bytes.Contains(got, []byte(body)) {
		n, err := stream.Read(part)
		got = append(got, part[:n]...)
		if err != nil && !bytes.Contains(got, []byte(body)) {
			return fmt.Errorf("only %q: %w", got, err)
		}
	}
	if b.first == "server" {
		io.Copy(io.Discard, stream)
	}
	if b.notify == "yes" {
		stream.Close()
	}
	return nil
}

func callHTTP(config *tls.Config, port string, b batch) error {
	transport := &http.Transport{TLSClientConfig: config.Clone(), DisableKeepAlives: b.first == "server"}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: timeout}
	response, err := client.Get("https://" + b.name + ":" + port + b.path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err == nil && !bytes.Contains(got, []byte(body)) {
		err = fmt.Errorf("only %q", got)
	}
	return err
}

func main() {
	if os.Args[1] == "serve" {
		serve(os.Args[2], os.Args[3], os.Args[4:])
		return
	}
	call := map[string]func(*tls.Config, string, batch) error{"tls": callTLS, "http": callHTTP}[os.Args[2]]
	pem, err := os.ReadFile(os.Args[3])
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var b batch
		_, err := fmt.Sscan(lines.Text(), &b.name, &b.path, &b.resume, &b.notify, &b.first, &b.calls)
		check(err)
		config := &tls.Config{RootCAs: pool}
		if b.resume == "yes" {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
		done, problem := 0, ""
		for n := 0; n < b.calls; n++ {
			if err := call(config, os.Args[4], b); err != nil {
				problem = err.Error()
			} else {
				done++
			}
		}
		fmt.Println(done, strings.ReplaceAll(problem, "\n", " "))
	}
}
