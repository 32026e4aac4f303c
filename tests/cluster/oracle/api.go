package oracle

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"
)

// The number of objects that are written at the same time.
const writers = 8

// API is a cluster's API, with the rights of a kubeconfig.
type API struct {
	server, token string
	client        http.Client
}

// Open reads a kubeconfig with a token.
func Open(kubeconfig string) (*API, error) {
	content, err := os.ReadFile(kubeconfig)
	if err != nil {
		return nil, err
	}
	var config Object
	if err := yaml.Unmarshal(content, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	clusters, users := list(config, "clusters"), list(config, "users")
	if len(clusters) != 1 || len(users) != 1 {
		return nil, fmt.Errorf("%s: not one cluster and one user", kubeconfig)
	}
	authority, err := base64.StdEncoding.DecodeString(text(clusters[0], "cluster", "certificate-authority-data"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	return &API{
		server: text(clusters[0], "cluster", "server"),
		token:  text(users[0], "user", "token"),
		client: http.Client{Timeout: time.Minute, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: writers,
			ForceAttemptHTTP2: true,
		}},
	}, nil
}

// Refused is an answer of the API that is no success.
type Refused struct {
	Code int
	Text string
}

func (r Refused) Error() string { return fmt.Sprint(r.Text, " (", r.Code, ")") }

// call asks again while the API wants to be left alone, as it does for some seconds after a CRD was made.
func (api *API) call(method, path, kind string, body any) ([]byte, int, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return nil, 0, err
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		answer, code, err := api.ask(method, path, kind, content)
		if code != http.StatusTooManyRequests || time.Now().After(until) {
			return answer, code, err
		}
	}
}

func (api *API) ask(method, path, kind string, content []byte) ([]byte, int, error) {
	request, err := http.NewRequest(method, api.server+path, bytes.NewReader(content))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Authorization", "Bearer "+api.token)
	request.Header.Set("Content-Type", kind)
	response, err := api.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = Refused{response.StatusCode, fmt.Sprintf("%s %s: %.400s", method, path, answer)}
	}
	return answer, response.StatusCode, err
}

func (r resource) path(namespace string) string {
	root := "/apis/" + r.group
	if r.group == "v1" {
		root = "/api/v1"
	}
	if namespace != "" {
		root += "/namespaces/" + namespace
	}
	return root + "/" + r.plural
}

func pathOf(o Object) string {
	return resources[o.Kind()].path(o.Namespace()) + "/" + o.Name()
}

// Apply creates or changes an object, its status included.
func (api *API) Apply(o Object) error {
	o = maps.Clone(o)
	status := o["status"]
	delete(o, "status")
	_, _, err := api.call("PATCH", pathOf(o)+"?fieldManager=oracle&force=true", "application/apply-patch+yaml", o)
	if err != nil || status == nil {
		return err
	}
	_, _, err = api.call("PATCH", pathOf(o)+"/status", "application/merge-patch+json", Object{"status": status})
	return err
}

// Delete removes an object, or lets it terminate for some seconds. An object that is not there is no error.
func (api *API) Delete(o Object, grace int) error {
	_, code, err := api.call("DELETE", pathOf(o), "application/json", Object{"gracePeriodSeconds": grace})
	if code == http.StatusNotFound {
		return nil
	}
	return err
}

// List reads every object of a kind.
func (api *API) List(kind string) ([]Object, error) {
	answer, _, err := api.call("GET", resources[kind].path(""), "application/json", nil)
	if err != nil {
		return nil, err
	}
	var found struct{ Items []Object }
	if err := json.Unmarshal(answer, &found); err != nil {
		return nil, err
	}
	for _, o := range found.Items {
		o["kind"], o["apiVersion"] = kind, resources[kind].group
	}
	return found.Items, nil
}

// each does something with every object, a few at a time; it returns the errors.
func each(objects []Object, do func(Object) error) error {
	queue, failed := make(chan Object), make([]error, writers)
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() {
			for o := range queue {
				if err := do(o); err != nil {
					failed[n] = errors.Join(failed[n], err)
				}
			}
		})
	}
	for _, o := range objects {
		queue <- o
	}
	close(queue)
	group.Wait()
	return errors.Join(failed...)
}

// waitForAccount waits until a namespace has its default ServiceAccount, without which no pod can be made in it.
func (api *API) waitForAccount(namespace Object) error {
	path := "/api/v1/namespaces/" + namespace.Name() + "/serviceaccounts/default"
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if _, _, err := api.call("GET", path, "application/json", nil); err == nil || time.Since(begin) > time.Minute {
			return err
		}
	}
}

// ApplyAll creates or changes objects in the order that istiod needs. The pods of `terminating` begin to terminate.
func (api *API) ApplyAll(objects []Object, terminating []Object) error {
	var failed error
	for _, kinds := range stages {
		now := stage(objects, kinds)
		if kinds[0] != "DestinationRule" {
			failed = errors.Join(failed, each(now, api.Apply))
		} else {
			slices.SortFunc(now, byAge)
			for _, o := range now {
				failed = errors.Join(failed, api.Apply(o))
			}
		}
		switch kinds[0] {
		case "Namespace":
			failed = errors.Join(failed, each(stage(now, []string{"Namespace"}), api.waitForAccount))
		case "ConfigMap":
			// istiod sees pods and slices in two streams.
			time.Sleep(time.Second)
		}
	}
	letGo := func(o Object) error { return api.Delete(o, 3600) }
	return cmp.Or(failed, each(terminating, letGo))
}

// ApplyValid is ApplyAll for objects of a seed. The API refuses some of them: those that are invalid together, and
// changes of fields that it does not let change.
func (api *API) ApplyValid(made Generated) error {
	err := api.ApplyAll(made.Objects, made.Terminating)
	if err == nil {
		return nil
	}
	return errors.Join(slices.DeleteFunc(flatten(err), func(err error) bool {
		var refused Refused
		return errors.As(err, &refused) && refused.Code == http.StatusUnprocessableEntity
	})...)
}

// flatten gives the errors that were joined.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, one := range joined.Unwrap() {
		out = append(out, flatten(one)...)
	}
	return out
}

// RemoveAll removes objects at once.
func (api *API) RemoveAll(objects []Object) error {
	return each(objects, func(o Object) error { return api.Delete(o, 0) })
}

// Clean removes every object of some namespaces, and those that the oracle made in Istio's namespace.
func (api *API) Clean(namespaces []string) error {
	objects, err := api.Read(namespaces)
	if err != nil {
		return err
	}
	objects = slices.DeleteFunc(objects, func(o Object) bool {
		ours := o.Namespace() == "istio-system" && strings.HasPrefix(o.Name(), "oracle-")
		return !ours && !slices.Contains(namespaces, o.Namespace())
	})
	return api.RemoveAll(objects)
}

// Leave removes what Clean removes, and the objects of Base. Of the namespaces only the names stay.
func (api *API) Leave(namespaces []string) error {
	failed := api.Clean(namespaces)
	for _, o := range Base() {
		if o.Kind() == "Namespace" {
			delete(table(o, "metadata"), "labels")
			failed = errors.Join(failed, api.Apply(o))
		} else {
			failed = errors.Join(failed, api.Delete(o, 0))
		}
	}
	return failed
}
