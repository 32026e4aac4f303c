// Reads hellos from stdin, each behind its length, and writes the server name that Go's crypto/tls reads in
// each. The answer to a hello is a length and the name; the length 0xffffffff means that Go refused the hello.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// A connection whose other side has sent these bytes and closed.
type said struct{ *bytes.Reader }

func (said) Write(b []byte) (int, error)      { return len(b), nil }
func (said) Close() error                     { return nil }
func (said) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (said) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (said) SetDeadline(time.Time) error      { return nil }
func (said) SetReadDeadline(time.Time) error  { return nil }
func (said) SetWriteDeadline(time.Time) error { return nil }

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	for {
		var length uint32
		if binary.Read(in, binary.BigEndian, &length) != nil {
			return
		}
		hello := make([]byte, length)
		if _, err := io.ReadFull(in, hello); err != nil {
			return
		}
		name, read := "", false
		config := &tls.Config{
			GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
				name, read = info.ServerName, true
				return nil, errors.New("that is all")
			},
		}
		_ = tls.Server(said{bytes.NewReader(hello)}, config).Handshake()
		if read {
			_ = binary.Write(out, binary.BigEndian, uint32(len(name)))
			_, _ = out.WriteString(name)
		} else {
			_ = binary.Write(out, binary.BigEndian, ^uint32(0))
		}
		_ = out.Flush()
	}
}
