package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one program of the rig. It can be started again after its end.
type Process struct {
	// Name is also that of its log.
	Name string
	// ready waits until the program serves, within the time.
	ready   func(time.Duration) error
	command func() *exec.Cmd

	mutex   sync.Mutex
	child   *exec.Cmd
	done    chan struct{}
	outcome error
}

// NewProcess is a program of the test's own. The command is made anew at each start.
func NewProcess(name string, command func() *exec.Cmd) *Process {
	return &Process{Name: name, command: command}
}

// TryStart starts the program without waiting for anything, for what has no test at hand.
func (p *Process) TryStart() error { return p.launch() }

// Signal sends a signal to the program if it runs.
func (p *Process) Signal(signal syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	return syscall.Kill(p.PID(), signal)
}

// Ended is closed at the end of the program that was started last.
func (p *Process) Ended() <-chan struct{} {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.done
}

// LogPath is the file of the log.
func (p *Process) LogPath() string { return dir + "/" + p.Name + ".log" }

// Start starts the program if it does not run, and waits until it serves.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	if err := p.start(3 * time.Minute); err != nil {
		t.Fatalf("%s: %v\n%s", p.Name, err, Tail(p.Log(), 20))
	}
}

func (p *Process) start(wait time.Duration) error {
	if err := p.launch(); err != nil {
		return err
	}
	if p.ready == nil {
		return nil
	}
	return p.ready(wait)
}

func (p *Process) launch() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.child != nil && !p.ended() {
		return nil
	}
	log, err := os.OpenFile(p.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	child := p.command()
	child.Stderr = log
	if child.Stdout == nil {
		child.Stdout = log
	}
	if err := child.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	p.child, p.done = child, done
	go func() {
		err := child.Wait()
		p.mutex.Lock()
		if p.child == child {
			p.outcome = err
		}
		p.mutex.Unlock()
		close(done)
	}()
	return nil
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Running says whether the program has been started and has not ended.
func (p *Process) Running() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.child != nil && !p.ended()
}

// PID is that of the running program.
func (p *Process) PID() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.child == nil {
		return 0
	}
	return p.child.Process.Pid
}

// Wait waits for the end of the program and returns its exit code, or -1 if a signal ended it.
func (p *Process) Wait(t testing.TB, most time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(most):
		t.Fatalf("%s still runs after %v\n%s", p.Name, most, Tail(p.Log(), 20))
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	var failed *exec.ExitError
	if errors.As(p.outcome, &failed) {
		return failed.ExitCode()
	}
	return 0
}

func (p *Process) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(p.PID(), signal); err != nil {
		t.Fatalf("%s: signal %v: %v", p.Name, signal, err)
	}
}

// Stop ends the program by SIGTERM and waits for its end.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	p.Wait(t, time.Minute)
}

// Kill ends the program by SIGKILL and waits for its end.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	if p.Running() {
		p.signal(t, syscall.SIGKILL)
		p.Wait(t, time.Minute)
	}
}

// Pause stops the program by SIGSTOP: the kernel goes on accepting connections for it. It goes on at the end of the
// test if not before.
func (p *Process) Pause(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(p.PID(), syscall.SIGCONT) })
}

// Resume undoes Pause.
func (p *Process) Resume(t testing.TB) { t.Helper(); p.signal(t, syscall.SIGCONT) }

// Log is everything that the program has written to its standard error.
func (p *Process) Log() string {
	text, _ := os.ReadFile(p.LogPath())
	return string(text)
}

// RSS and peak RSS of the program, in bytes.
func (p *Process) RSS() (now, peak int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		value, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = value << 10
		case "VmHWM:":
			peak = value << 10
		}
	}
	return now, peak
}

// CPU is the time that the program has used.
func (p *Process) CPU() time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	// The kernel counts in hundredths of a second for programs, whatever its own clock is.
	return time.Duration(user+system) * 10 * time.Millisecond
}

// Tail is the last lines of a text.
func Tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
