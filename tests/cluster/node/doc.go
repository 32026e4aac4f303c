// Package node is what the nodes of a cluster do, for pods that must really run: a network namespace for each pod, the
// kubelet that starts and ends the programs of its containers, and kube-proxy's share in Services of type LoadBalancer.
//
// The rest of the cluster is package rig, in whose namespaces all of this lies. Deployments need two controllers more:
//
//	rig.Main(m, rig.Options{Controllers: []string{"deployment-controller", "replicaset-controller"}})
//
// A [Kubelet] takes every pod of the namespaces that it is given, whoever made it. The name of an image stands for a
// function that makes the command; nothing is pulled. It keeps to what a pod says about its account, ConfigMaps,
// environment, sysctls, readiness and grace period, and leaves out the rest.
//
// A [Balancer] gives each Service of type LoadBalancer an address, and sends new connections to one of its ready
// endpoints at random, with the kernel's own NAT, as kube-proxy does: connections that are open stay where they are.
//
// It needs root, nft (nftables) and nsenter (util-linux). The N-th network has the addresses 10.(110+N).0.0/16.
package node
