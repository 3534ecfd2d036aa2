// SPDX-License-Identifier: Apache-2.0

// Package e2e holds tenon against real engines: dockerd with containerd, Podman,
// the programs as make builds them, and runc as the distribution has it ("make
// e2e"); the newest containerd and runc through the CRI ("make e2e-cri"), and
// below a Kubernetes ("make e2e-kubernetes"), which engines.sh builds. It is run
// as root, and has tests only, behind the build tag e2e; the folder cri, a client
// of the CRI, is a module of its own.
//
// Nothing of the machine is changed. Everything happens in namespaces of its
// own, with /etc, /usr and /var under an overlay, and /run and /dev in memory:
// tenon stands at the paths that packages give it, and whatever happens, all of
// it is gone when the test ends. main_test.go makes them, and is where to start;
// world_test.go puts tenon, a driver, an image and Docker into them, newest_test.go
// the newest engines.
package e2e
