// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

// openLog returns the debug log that the configuration names, or one that says
// nothing. A log that cannot be written is no reason to fail: it is for whoever
// looks for the cause of something else.
//
// The file is the only place besides the one door for errors that we write to.
// It is opened without following a link and without waiting for the reader of a
// pipe, since others may be able to write to the folder it is in.
func openLog(config host.Config, bundle string) *slog.Logger {
	if config.DebugLog == "" || config.DebugLog == os.DevNull {
		return slog.New(slog.DiscardHandler)
	}
	const flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	_ = os.MkdirAll(filepath.Dir(config.DebugLog), 0o750)
	f, err := os.OpenFile(config.DebugLog, flags, 0o640)
	if err != nil {
		return slog.New(slog.DiscardHandler)
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return slog.New(slog.DiscardHandler)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(config.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: level}))
	return log.With("bundle", filepath.Dir(bundle))
}
