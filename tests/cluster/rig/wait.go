package rig

import (
	"testing"
	"time"
)

// Eventually waits until condition is true, and fails the test with what it waited for otherwise.
func Eventually(t testing.TB, what string, most time.Duration, condition func() bool) {
	t.Helper()
	if !Within(most, condition) {
		t.Fatalf("not within %v: %s", most, what)
	}
}

// Within waits until condition is true, and returns whether it was before the time was over.
func Within(most time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(most)
	// Looks cost CPU, which the program that is waited for needs too.
	for pause := 10 * time.Millisecond; !condition(); pause = min(2*pause, 250*time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// tick comes after the pause between two looks at something.
func tick() <-chan time.Time { return time.After(20 * time.Millisecond) }
