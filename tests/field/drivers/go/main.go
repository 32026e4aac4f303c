// The client and the server of Go's crypto/tls and net/http. Arguments and lines are those of peer.py; clients are
// `tls` and `http`.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"strait.test/peer/driver"
)

const (
	body    = "0123456789abcdef0123456789abcdef01234567\trefs/heads/main\n"
	timeout = 20 * time.Second
)

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

func serve(listener net.Listener, config *tls.Config) {
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{Handler: http.HandlerFunc(answer), TLSConfig: config, ErrorLog: quiet}
	go server.Serve(tls.NewListener(listener, config))
}

func callTLS(config *tls.Config, port string, b driver.Batch) error {
	dialer := &net.Dialer{Timeout: timeout}
	raw, err := dialer.Dial("tcp", b.Name+":"+port)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(timeout))
	stream := tls.Client(raw, config)
	keep := "keep-alive"
	if b.First == "server" {
		keep = "close"
	}
	if _, err := fmt.Fprintf(stream, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n\r\n", b.Path, b.Name, keep); err != nil {
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
	if b.First == "server" {
		io.Copy(io.Discard, stream)
	}
	if b.Notify == "yes" {
		stream.Close()
	}
	return nil
}

func callHTTP(config *tls.Config, port string, b driver.Batch) error {
	transport := &http.Transport{TLSClientConfig: config.Clone(), DisableKeepAlives: b.First == "server"}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: timeout}
	response, err := client.Get("https://" + b.Name + ":" + port + b.Path)
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
		driver.Serve(os.Args[2], os.Args[3], os.Args[4:], serve)
		return
	}
	call := map[string]func(*tls.Config, string, driver.Batch) error{"tls": callTLS, "http": callHTTP}[os.Args[2]]
	driver.Call(os.Args[3], func(config *tls.Config, b driver.Batch) error { return call(config, os.Args[4], b) })
}
