// SPDX-License-Identifier: Apache-2.0

// The conformance kit: a mode that holds its host to ../ABI.md. It calls every
// function of the host with right, wrong and hostile arguments, and names each
// rule that it checks by its number there. README.md says how to run it against
// any host, and what must come out.
//
// Read host.go (how it asks), report.go (how it tells), request.go, files.go and
// guest.go (what one run can check), and single.go (what ends a run, and so has
// one of its own). It imports nothing of the sdk: a fault there must not hide one
// of the host.
package main

func main() {}
