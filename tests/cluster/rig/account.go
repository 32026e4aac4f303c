package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Account is a service account "strait" that a gateway runs as, in a namespace of its own, and with it a GatewayClass.
// Gateways of different accounts do not see each other's Gateways, and each writes status by a Lease of its own.
type Account struct {
	Namespace string
	// Class is the name of the GatewayClass, which does not exist yet: see GatewayClass.
	Class string
	// Dir is the folder as the kubelet mounts it in a pod: token, ca.crt, namespace.
	Dir string

	// Pod is the pod of this namespace that the token is bound to, as the kubelet's are. Without it the token is bound to
	// nothing.
	Pod string

	cluster *Cluster
}

// LoadBalancer is the address in the status of the Service strait/strait.
const LoadBalancer = "10.98.2.1"

// Manifests applies config/kubernetes/base, once in a program.
func (c *Cluster) Manifests(t testing.TB) {
	t.Helper()
	c.applied.Do(func() {
		c.Kubectl(t, "apply", "-k", filepath.Join(Root(), "config/kubernetes/base"))
		if err := c.accountOf("strait"); err != nil {
			t.Fatal(err)
		}
		// A cloud's load balancer controller writes this status.
		_, err := c.Client.CoreV1().Services("strait").Patch(context.Background(), "strait", types.MergePatchType,
			[]byte(`{"status":{"loadBalancer":{"ingress":[{"ip":"`+LoadBalancer+`"}]}}}`), meta.PatchOptions{}, "status")
		if err != nil {
			t.Fatal(err)
		}
	})
}

// ManifestsAccount is the account of config/kubernetes/base, which it applies.
func (c *Cluster) ManifestsAccount(t testing.TB) *Account {
	t.Helper()
	c.Manifests(t)
	a := &Account{Namespace: "strait", Class: "strait", Dir: dir + "/account-strait", cluster: c}
	a.Renew(t)
	return a
}

// Account makes an account in a new namespace with the rights of config/kubernetes/base but those on these resources,
// such as "pods".
func (c *Cluster) Account(t testing.TB, without ...string) *Account {
	t.Helper()
	c.Manifests(t)
	name := c.Namespace(t, "account", nil)
	a := &Account{Namespace: name, Class: name, Dir: dir + "/" + name, cluster: c}
	c.Apply(t, a.YAML())
	api, subject := c.Client.RbacV1(), []rbac.Subject{{Kind: "ServiceAccount", Name: "strait", Namespace: name}}
	role, err := api.Roles("strait").Get(context.Background(), "strait", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rules := role.DeepCopy().Rules
	for _, rule := range rules {
		for n, of := range rule.ResourceNames {
			if of == "strait-status" {
				rule.ResourceNames[n] = "strait-status-" + a.Class
			}
		}
	}
	_, err = api.Roles(name).Create(context.Background(), &rbac.Role{ObjectMeta: meta.ObjectMeta{Name: "strait"}, Rules: rules}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.RoleBindings(name).Create(context.Background(), &rbac.RoleBinding{ObjectMeta: meta.ObjectMeta{Name: "strait"},
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: "strait"}, Subjects: subject}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.ClusterRoles().Create(context.Background(), &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{Name: name}, Rules: c.rules(t, without)}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.ClusterRoleBindings().Create(context.Background(), &rbac.ClusterRoleBinding{ObjectMeta: meta.ObjectMeta{Name: name},
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: name}, Subjects: subject}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.Renew(t)
	return a
}

// rules are those of the ClusterRole of the manifests, without these resources.
func (c *Cluster) rules(t testing.TB, without []string) []rbac.PolicyRule {
	t.Helper()
	role, err := c.Client.RbacV1().ClusterRoles().Get(context.Background(), "strait", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var kept []rbac.PolicyRule
	for _, rule := range role.DeepCopy().Rules {
		rule.Resources = slices.DeleteFunc(rule.Resources, func(of string) bool { return slices.Contains(without, of) })
		if len(rule.Resources) > 0 {
			kept = append(kept, rule)
		}
	}
	return kept
}

// Permit gives the account back all the rights of the manifests but those on these resources.
func (a *Account) Permit(t testing.TB, without ...string) {
	t.Helper()
	roles := a.cluster.Client.RbacV1().ClusterRoles()
	role, err := roles.Get(context.Background(), a.Namespace, meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = a.cluster.rules(t, without)
	if _, err := roles.Update(context.Background(), role, meta.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// YAML is the ServiceAccount.
func (a *Account) YAML() string {
	return fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: strait, namespace: %s }\n", a.Namespace)
}

// GatewayClass is the YAML of the account's class.
func (a *Account) GatewayClass() string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: %s }\nspec: { controllerName: %s }\n", a.Class, a.Controller())
}

// Controller is the controllerName of the account's class.
func (a *Account) Controller() string {
	if a.Class == "strait" {
		return "strait.dev/gateway-controller"
	}
	return "strait.dev/" + a.Class
}

// settings are the keys of kubernetes.gateway_api that make a gateway serve the account's class.
func (a *Account) settings() string {
	if a.Class == "strait" {
		return ""
	}
	return fmt.Sprintf("class: %s, controller: %s, ", a.Class, a.Controller())
}

// Renew writes a new token.
func (a *Account) Renew(t testing.TB) {
	t.Helper()
	a.write(t, a.cluster.token(t, a.Namespace, "strait", a.Pod))
}

// RenewFor writes a new token with a life of its own. The API itself gives none that lasts less than 10 minutes. It takes a token for a
// minute after its end.
func (a *Account) RenewFor(t testing.TB, life time.Duration) {
	t.Helper()
	token, err := withLife(a.cluster.token(t, a.Namespace, "strait", a.Pod), life)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, token)
}

// write writes a token. As the kubelet does, it replaces all files at once.
func (a *Account) write(t testing.TB, token string) {
	t.Helper()
	version := a.cluster.Unique("..data")
	if err := os.MkdirAll(filepath.Join(a.Dir, version), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"token": token, "namespace": a.Namespace, "ca.crt": string(a.cluster.Config.CAData),
	} {
		if err := os.WriteFile(filepath.Join(a.Dir, version, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_ = os.Symlink("..data/"+name, filepath.Join(a.Dir, name))
	}
	next := filepath.Join(a.Dir, version+".new")
	if err := os.Symlink(version, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(a.Dir, "..data")); err != nil {
		t.Fatal(err)
	}
}
