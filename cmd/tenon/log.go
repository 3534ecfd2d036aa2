// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
)

// logger is for what --verbose tells; silent without it. Colours are for a
// terminal only, and not where NO_COLOR is set (https://no-color.org).
func logger(c *cobra.Command) *slog.Logger {
	if verbose, _ := c.Flags().GetBool("verbose"); !verbose {
		return slog.New(slog.DiscardHandler)
	}
	w := c.ErrOrStderr()
	return slog.New(tint.NewTextHandler(w, &tint.Options{
		Level:      slog.LevelDebug,
		TimeFormat: "15:04:05",
		NoColor:    os.Getenv("NO_COLOR") != "" || !isTerminal(w),
	}))
}

// isTerminal takes every character device for one: /dev/null does not mind.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
