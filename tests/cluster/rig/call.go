package rig

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Call is a TLS connection to a gateway.
type Call struct {
	// To is the gateway's address; Gateway's methods fill it.
	To string
	// SNI is the server name.
	SNI string
	// ALPN are protocols by comma; none if it is empty.
	ALPN string
}

// Do makes the connection and returns what the echo server says. An error without an answer is a refusal or a server
// that is no echo server.
func (call Call) Do() (Answer, error) {
	var answer Answer
	options := &tls.Config{ServerName: call.SNI, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if call.ALPN != "" {
		options.NextProtos = strings.Split(call.ALPN, ",")
	}
	raw, err := net.DialTimeout("tcp", call.To, 30*time.Second)
	if err != nil {
		return answer, err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(time.Minute))
	connection := tls.Client(raw, options)
	if err := connection.Handshake(); err != nil {
		return answer, err
	}
	line, err := bufio.NewReader(connection).ReadBytes('\n')
	if err != nil {
		return answer, fmt.Errorf("the handshake was done: %w", err)
	}
	return answer, json.Unmarshal(line, &answer)
}

// Caller makes calls in the background until Stop.
type Caller struct {
	stop   chan struct{}
	done   sync.WaitGroup
	mutex  sync.Mutex
	total  int
	failed []string
}

// Background makes the call again and again, with a pause between the calls.
func Background(call Call, pause time.Duration) *Caller {
	caller := &Caller{stop: make(chan struct{})}
	caller.done.Go(func() {
		begin := time.Now()
		for {
			select {
			case <-caller.stop:
				return
			case <-time.After(pause):
			}
			_, err := call.Do()
			caller.mutex.Lock()
			caller.total++
			if err != nil && len(caller.failed) < 100 {
				caller.failed = append(caller.failed, fmt.Sprintf("after %.3f s: %v", time.Since(begin).Seconds(), err))
			}
			caller.mutex.Unlock()
		}
	})
	return caller
}

// Count is the number of calls so far.
func (c *Caller) Count() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.total
}

// Stop ends the calls and returns their number and the failures, at most 100.
func (c *Caller) Stop() (int, []string) {
	close(c.stop)
	c.done.Wait()
	return c.total, c.failed
}

// AllSucceed ends the calls and fails the test if one of them failed or none was made.
func (c *Caller) AllSucceed(t testing.TB) {
	t.Helper()
	if total, failed := c.Stop(); total == 0 || len(failed) > 0 {
		t.Errorf("%d calls, of which failed:\n%s", total, strings.Join(failed, "\n"))
	}
}
