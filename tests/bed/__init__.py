"""The bed: a real Kubernetes on this machine, for tests and for whoever wants to try Tidegate.

Two levels. The control plane (`control_plane`) is etcd, the API server, the controller manager and
the scheduler on loopback, with nodes that kwok pretends (`kwok`): for scale and for races. The node
(`node`) is that and a real kubelet with containerd, kube-proxy and CoreDNS, in a network namespace
of its own: for the product itself. It needs root, and Docker nowhere.

What belongs here: programs by their pinned versions, built by Go where nobody brings them
(`versions`, `golang`, `binaries`); images without a registry (`archives`, `base_image`, `recipe`,
`pip_settings`, `images`); what the programs are told (`credentials`, `node_files`, `volumes`); how
they are found again and ended (`state`, `processes`, `mounts`, `cgroups`, `network`, `traces`,
`cleaning`); and what a test holds in its hand (`cluster`, `forwarding`, `diagnostics`, `fixtures`).
`python -m tests.bed` is the same for a person.

The law: a bed leaves nothing behind. Whatever it starts, mounts or routes can be found again from
its folder alone, by whoever comes after a process that died, and is ended by that. It is never
looked for by its name: a process of somebody else's may be called the same. And it takes nothing
that others have: no port of theirs, no route, no rule, no image store.

What does not belong here: anything of Tidegate's but its Dockerfile. The tests of the chart and of
the operator stand in tests/e2e and tests/cluster.
"""
