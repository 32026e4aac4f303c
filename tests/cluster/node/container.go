package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"strait.dev/tests/cluster/rig"
)

// accountFolder is the folder of the service account in every container that has its token.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// The folders of the machine that a container sees, beside those of its volumes. They stand for its image.
var image = []string{"bin", "lib", "lib64", "usr", "dev", "proc"}

// Container is a command that runs a program of the machine as the pod's first container says: with its arguments,
// environment, user, ConfigMaps and empty folders, and with a root of its own that has nothing else to write to.
func (p *Pod) Container(program string) (*rig.Process, error) {
	container := p.Spec.Containers[0]
	root := p.Folder + "/root"
	for _, folder := range append(image, "etc", "tmp") {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(root+"/program", nil, 0o755); err != nil {
		return nil, err
	}
	environment, err := p.environment(container)
	if err != nil {
		return nil, err
	}
	if err := p.mount(root, container); err != nil {
		return nil, err
	}
	mounts := `mount --bind "$1" "$2/program"; cd "$2"; shift 2; for folder in ` + strings.Join(image, " ") +
		`; do mount --rbind "/$folder" "./$folder"; done; exec chroot . "$@"`
	words := []string{"unshare", "--mount", "sh", "-euc", mounts, "container", program, root,
		"setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"}
	if context := p.Spec.SecurityContext; context != nil && context.RunAsUser != nil {
		words = append(words, fmt.Sprintf("--reuid=%d", *context.RunAsUser), fmt.Sprintf("--regid=%d", *context.RunAsGroup), "--clear-groups")
	}
	words = append(append(words, "/program"), container.Args...)
	return p.Program(environment, words...), nil
}

// Program is a program of the machine in the pod's network and folder, with an environment of its own.
func (p *Pod) Program(environment []string, words ...string) *rig.Process {
	return rig.NewProcess("pod-"+p.Name, func() *exec.Cmd {
		command := p.Command(words...)
		command.Env, command.Dir = environment, p.Folder
		return command
	})
}

// environment is that of the container.
func (p *Pod) environment(container core.Container) ([]string, error) {
	out := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + p.Name, "KUBERNETES_SERVICE_HOST=" + rig.APIHost, fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", rig.APIPort)}
	for _, variable := range container.Env {
		value := variable.Value
		if from := variable.ValueFrom; from != nil {
			if from.FieldRef == nil {
				return nil, fmt.Errorf("variable %s: only fields are known here", variable.Name)
			}
			value = p.field(from.FieldRef.FieldPath)
		}
		out = append(out, variable.Name+"="+value)
	}
	return out, nil
}

// field is the value of a field of the pod, for its environment.
func (p *Pod) field(path string) string {
	if label, is := strings.CutPrefix(path, "metadata.labels['"); is {
		return p.Labels[strings.TrimSuffix(label, "']")]
	}
	return map[string]string{
		"metadata.name": p.Name, "metadata.namespace": p.Namespace, "spec.nodeName": p.Spec.NodeName,
		"spec.serviceAccountName": p.Spec.ServiceAccountName, "status.podIP": p.IP, "status.hostIP": HostIP,
	}[path]
}

// mount makes the container's ConfigMaps, empty folders and the files of its account, which the API adds to each pod that asks for them.
func (p *Pod) mount(root string, container core.Container) error {
	for _, mount := range container.VolumeMounts {
		folder := filepath.Join(root, mount.MountPath)
		for _, volume := range p.Spec.Volumes {
			var err error
			switch {
			case volume.Name != mount.Name:
			case volume.ConfigMap != nil:
				err = p.configMap(folder, volume.ConfigMap.Name)
			case volume.EmptyDir != nil:
				if err = os.MkdirAll(folder, 0o777); err == nil {
					err = os.Chmod(folder, 0o777)
				}
			case mount.MountPath == accountFolder:
				err = p.account(folder)
			default:
				err = fmt.Errorf("volume %s: only ConfigMaps, empty folders and the account's are known here", volume.Name)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Pod) configMap(folder, name string) error {
	found, err := p.cluster.Client.CoreV1().ConfigMaps(p.Namespace).Get(context.Background(), name, meta.GetOptions{})
	if err != nil {
		return err
	}
	files := map[string]string{}
	for name, text := range found.Data {
		files[name] = text
	}
	return write(folder, files)
}

// account writes the files of the pod's service account.
func (p *Pod) account(folder string) error {
	token, err := p.Token("")
	if err != nil {
		return err
	}
	return write(folder, map[string]string{"token": token, "namespace": p.Namespace, "ca.crt": string(p.cluster.Config.CAData)})
}

// Token is a token of the pod's account for an audience, by default the API.
func (p *Pod) Token(audience string) (string, error) {
	life := int64(12 * 3600)
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{
		ExpirationSeconds: &life,
		BoundObjectRef:    &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID},
	}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	made, err := p.cluster.Client.CoreV1().ServiceAccounts(p.Namespace).CreateToken(context.Background(), p.Spec.ServiceAccountName, request, meta.CreateOptions{})
	if err != nil {
		return "", err
	}
	return made.Status.Token, nil
}

// Write writes files into the pod's folder.
func (p *Pod) Write(files map[string]string) error { return write(p.Folder, files) }

// write writes files below a folder.
func write(folder string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
