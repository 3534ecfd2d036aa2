// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

func killer(args []string) int { return 1 }
