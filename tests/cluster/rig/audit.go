package rig

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// auditPath is the audit log of APIServer.
const auditPath = dir + "/apiserver-audit.log"

// Request is a request to the API in the audit log. Only those of service accounts are there.
type Request struct {
	// User is "system:serviceaccount:NAMESPACE:NAME".
	User, Verb, Group, Resource, Subresource, Namespace, Name, URI string
	// Code is the HTTP status. A watch is there twice: when it begins (Began) and when it ends.
	Code  int
	Began bool
	Time  time.Time
}

// Audit returns the requests of an account since a time, oldest first.
func (c *Cluster) Audit(t testing.TB, namespace, account string, since time.Time) []Request {
	t.Helper()
	file, err := os.Open(auditPath)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	user := fmt.Sprintf("system:serviceaccount:%s:%s", namespace, account)
	var found []Request
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), user) {
			continue
		}
		var event struct {
			Stage, Verb, RequestURI string
			User                    struct{ Username string }
			ObjectRef               struct{ APIGroup, Resource, Subresource, Namespace, Name string }
			ResponseStatus          struct{ Code int }
			StageTimestamp          time.Time
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil || event.User.Username != user || event.StageTimestamp.Before(since) {
			continue
		}
		of := event.ObjectRef
		found = append(found, Request{
			User: user, Verb: event.Verb, Group: of.APIGroup, Resource: of.Resource, Subresource: of.Subresource,
			Namespace: of.Namespace, Name: of.Name, URI: event.RequestURI, Code: event.ResponseStatus.Code,
			Began: event.Stage == "ResponseStarted", Time: event.StageTimestamp,
		})
	}
	return found
}
