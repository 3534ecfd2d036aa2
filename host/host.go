// SPDX-License-Identifier: Apache-2.0

// Package host is the machine as modes may see it: its roots, the queries over
// them and who may ask which, the device nodes behind edits, and what is kept
// between two creates. Config holds what the administrator wants of it.
//
// Read run.go for one run of one module, queries.go for the table of queries,
// grants.go for what is denied, roots.go for how a path is looked up without
// leaving its root. Package wasm runs the modules, and package config reads
// the configuration; both are apart, so that a program that needs neither is not
// slowed by what they link.
//
// Nothing in this package writes to a container or starts a program, and nothing
// in it trusts a path: what a module or an image names is opened below a root and
// looked at through its descriptor.
package host
