// SPDX-License-Identifier: Apache-2.0

package host

import (
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenLog returns the debug log that c names, or one that says nothing. A log
// that cannot be written is no reason to fail: it is for whoever looks for the
// cause of something else.
//
// The file is opened without following a link and without waiting for the reader
// of a pipe, since others may be able to write to the folder it is in.
func OpenLog(c Config) *slog.Logger {
	silent := slog.New(slog.DiscardHandler)
	if c.DebugLog == "" || c.DebugLog == os.DevNull {
		return silent
	}
	const flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	_ = os.MkdirAll(filepath.Dir(c.DebugLog), 0o750)
	f, err := os.OpenFile(c.DebugLog, flags, 0o640)
	if err != nil {
		return silent
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return silent
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: level}))
}
