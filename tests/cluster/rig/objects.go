package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Exported is the annotation by which the owner of a Service opts in.
const Exported = `strait.dev/export: "true"`

// Unique is a name that no other test of the program has: the prefix and a number.
func (c *Cluster) Unique(prefix string) string { return fmt.Sprintf("%s-%d", prefix, c.names.Add(1)) }

// Namespace makes a namespace with a unique name, and waits until pods can be made in it. It stays: the next start has none.
func (c *Cluster) Namespace(t testing.TB, prefix string, labels map[string]string) string {
	t.Helper()
	name := c.Unique(prefix)
	c.NamespaceNamed(t, name, labels)
	return name
}

// NamespaceNamed is Namespace for a name that must be just so, such as istio-system. It may exist already.
func (c *Cluster) NamespaceNamed(t testing.TB, name string, labels map[string]string) {
	t.Helper()
	namespace := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: name, Labels: labels}}
	_, err := c.Client.CoreV1().Namespaces().Create(context.Background(), namespace, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if err := c.accountOf(name); err != nil {
		t.Fatal(err)
	}
}

// Service is the YAML of a Service that selects the pods with label app=NAME and sends PORT to EchoPort. The lines of
// annotations and of spec are added.
func Service(namespace, name string, port int, annotations ...string) string {
	text := fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: %s\n  annotations:\n    rig: \"\"\n", name, namespace)
	for _, annotation := range annotations {
		text += "    " + annotation + "\n"
	}
	return text + fmt.Sprintf("spec:\n  selector: { app: %s }\n  ports: [{ name: https, port: %d, targetPort: %d }]\n", name, port, EchoPort)
}

// Apply applies objects, as YAML with one or several documents each, as kubectl apply --server-side does.
func (c *Cluster) Apply(t testing.TB, documents ...string) {
	t.Helper()
	if err := c.TryApply(c.Config, documents...); err != nil {
		t.Fatal(err)
	}
}

// TryApply is Apply with the rights of another account (see As), for what the API may refuse.
func (c *Cluster) TryApply(as *rest.Config, documents ...string) error {
	client, err := dynamic.NewForConfig(as)
	if err != nil {
		return err
	}
	for _, text := range documents {
		for _, document := range split([]byte(text)) {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(document, &object.Object); err != nil {
				return fmt.Errorf("%w in\n%s", err, document)
			}
			resource, err := c.resource(client, object)
			if err != nil {
				return err
			}
			body, err := json.Marshal(object)
			if err != nil {
				return err
			}
			force := true
			_, err = resource.Patch(context.Background(), object.GetName(), types.ApplyPatchType, body,
				meta.PatchOptions{FieldManager: "rig", Force: &force})
			if err != nil {
				return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	return nil
}

// Delete deletes the objects that the YAML names, and does not mind if they are gone.
func (c *Cluster) Delete(t testing.TB, documents ...string) {
	t.Helper()
	for _, text := range documents {
		for _, document := range split([]byte(text)) {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(document, &object.Object); err != nil {
				t.Fatal(err)
			}
			resource, err := c.resource(c.Dynamic, object)
			if err == nil {
				err = resource.Delete(context.Background(), object.GetName(), meta.DeleteOptions{})
			}
			if err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
		}
	}
}

func (c *Cluster) resource(client dynamic.Interface, object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		c.mapper.Reset()
		if mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version); err != nil {
			return nil, err
		}
	}
	if mapping.Scope.Name() == "namespace" {
		return client.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
	}
	return client.Resource(mapping.Resource), nil
}

// Object reads an object, as unstructured data.
func (c *Cluster) Object(t testing.TB, apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	wanted := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	wanted.SetNamespace(namespace)
	resource, err := c.resource(c.Dynamic, wanted)
	if err != nil {
		t.Fatal(err)
	}
	found, err := resource.Get(context.Background(), name, meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Kubectl runs kubectl with the rights of an administrator and returns its standard output.
func (c *Cluster) Kubectl(t testing.TB, arguments ...string) string {
	t.Helper()
	command := exec.Command(os.Getenv("STRAIT_KUBERNETES")+"/kubectl", append([]string{"--kubeconfig", c.KubeconfigPath}, arguments...)...)
	command.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil {
		t.Fatalf("kubectl %v: %v\n%s%s", arguments, err, out.String(), errors.String())
	}
	return out.String()
}

// Token makes a token of a ServiceAccount that is valid for a day.
func (c *Cluster) Token(t testing.TB, namespace, account string) string {
	t.Helper()
	return c.token(t, namespace, account, "")
}

// token is Token, bound to a pod if one is named.
func (c *Cluster) token(t testing.TB, namespace, account, pod string) string {
	t.Helper()
	seconds := int64(24 * 3600)
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if pod != "" {
		request.Spec.BoundObjectRef = &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod}
	}
	made, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(context.Background(), account, request, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made.Status.Token
}

// As is the access to the API with the rights of a ServiceAccount.
func (c *Cluster) As(t testing.TB, namespace, account string) *rest.Config {
	t.Helper()
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken = c.Token(t, namespace, account)
	return config
}

// InstallCRDs creates CRDs by name, and waits until the API serves them.
func (c *Cluster) InstallCRDs(t testing.TB, names ...string) {
	t.Helper()
	if err := c.installCRDs(names); err != nil {
		t.Fatal(err)
	}
}

// DeleteCRDs deletes CRDs and all their objects, and waits until they are gone.
func (c *Cluster) DeleteCRDs(t testing.TB, names ...string) {
	t.Helper()
	c.Kubectl(t, append([]string{"delete", "--wait", "crd"}, names...)...)
	c.mapper.Reset()
}

// Conditions reads the conditions of a Gateway API object; see the function of this name.
func (c *Cluster) Conditions(t testing.TB, kind, namespace, name string) map[string]string {
	t.Helper()
	found := c.Object(t, "gateway.networking.k8s.io/v1", kind, namespace, name)
	status, _ := found.Object["status"].(map[string]any)
	return Conditions(status)
}

// TryStatus writes an empty status to a Gateway API object and returns what the API says about it.
func (c *Cluster) TryStatus(kind, namespace, name string) error {
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind}}
	object.SetNamespace(namespace)
	resource, err := c.resource(c.Dynamic, object)
	if err != nil {
		return err
	}
	_, err = resource.Patch(context.Background(), name, types.MergePatchType, []byte(`{"status":{"parents":[]}}`),
		meta.PatchOptions{DryRun: []string{meta.DryRunAll}}, "status")
	return err
}
