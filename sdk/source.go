// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import "embed"

// Source is the source of the SDKs, which "tenon module new" puts into new
// projects, so that they need nothing but a compiler. It is in no guest.
//
//go:embed *.go ABI.md c/*.h rust/Cargo.toml rust/src/*.rs
var Source embed.FS
