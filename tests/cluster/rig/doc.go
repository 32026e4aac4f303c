// Package rig is a real Kubernetes control plane for tests, with strait beside it: etcd, kube-apiserver and
// kube-controller-manager, nodes and pods that exist only in the API, and a TLS echo server at each pod's address.
//
// # Start
//
// A test program calls [Main] from its TestMain. Main starts the program anew in network, mount and process
// namespaces of its own and runs the tests there. The network namespace has the interface lo and no way out. When the
// program ends, for whatever reason, the kernel ends every process of the process namespace, and the files, which lie
// in a tmpfs of the mount namespace, are gone with it.
//
//	func TestMain(m *testing.M) { rig.Main(m, rig.Options{CRDs: rig.AllCRDs}) }
//
//	func TestSomething(t *testing.T) {
//		c := rig.Get()                                // the control plane that all tests of the program share
//		ns := c.Namespace(t, "apps", nil)             // a namespace of this test: "apps-" and a number
//		c.Apply(t, rig.Service(ns, "svcb", 443, rig.Exported))
//		pod := c.Pod(t, rig.Pod{Namespace: ns, Name: "svcb-0", Labels: rig.Mesh("svcb")})
//		s := c.Strait(t, rig.Strait{})                // a process of strait, as its manifests run it
//		s.WaitReady(t)
//		s.Reaches(t, rig.Call{SNI: "svcb." + ns + ".svc.cluster.local", ALPN: "istio"}, pod.IP)
//	}
//
// # Needs
//
// Root, or user namespaces (then strait runs as the only user that the namespace has). ip (iproute2), unshare, nsenter
// and setpriv (util-linux). Three environment variables, which tests/run sets:
//
//	STRAIT_BIN            the program under test
//	STRAIT_CONTROL_PLANE  the program of ../kube
//	STRAIT_KUBERNETES     a folder with kubectl
//
// STRAIT_RIG_LOGS may name a folder; the logs of all processes are copied there at the end.
//
// # Addresses
//
// All of them are on lo, so every process of the namespace can listen and connect there.
//
//	10.98.0.1:6443                 the API
//	10.98.0.3:6443                 the API of the other cluster
//	10.98.1.N                      the N-th process of strait
//	10.98.0.0/16                   free otherwise, for a test's own servers
//	10.99.0.0/16, 10.100.0.0/14    pods
//	fd00:99::/64                   pods, their second family
//	10.97.0.0/16, fd00:97::/108    ClusterIPs, which nothing answers
//
// On every address the echo server of [Cluster.Echo] has port [EchoPort] and answers a TLS connection with [Answer].
//
// # Parts
//
//   - [Cluster]: clients, Apply and Delete for YAML, Kubectl, namespaces, pods, tokens, the audit log.
//   - [Process]: Start, Stop, Kill, Pause (SIGSTOP), Resume, RSS, CPU and Log of Etcd, APIServer and ControllerManager.
//   - [Cluster.Other]: a second cluster with an API of its own, and the access to it that another cluster's strait gets.
//   - [Account]: the service account, rights and GatewayClass that a gateway runs with, apart from those of other tests.
//   - [Gateway]: a process of strait with its calls, metrics, readiness, logs.
//   - [Uplink]: another way to the API whose cable can be pulled, or that falls silent after some bytes.
//   - [Eventually]: waits with a deadline.
package rig
