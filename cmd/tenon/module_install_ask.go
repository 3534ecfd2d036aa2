// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

// show tells what the module may do.
func (i *installation) show() error {
	var b strings.Builder
	fmt.Fprintf(&b, "module     %s %s\nmode       %s\ndigest     %s\nsignature  %s\n",
		i.manifest.Name, i.manifest.Version, i.entry.Name, i.entry.Digest, i.signedText())
	lines := i.manifest.Words()
	if i.before == nil {
		b.WriteString("\nIt\n")
	} else {
		old, accepted, err := i.before.Read()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "replaces   %s (%s)\n", old.Version, i.before.Digest)
		old.Grants = accepted
		if lines = i.manifest.Differences(old); len(lines) == 0 {
			b.WriteString("\nIt may do what you have accepted before.\n")
		} else {
			b.WriteString("\nWhat changes against what you have accepted: it\n")
		}
	}
	for _, line := range lines {
		fmt.Fprintf(&b, "  %s\n", host.OneLine(line))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(i.out, b.String())
	return err
}

func (i *installation) signedText() string {
	switch {
	case len(i.entry.SignedBy) > 0:
		return "good, of " + host.OneLine(strings.Join(i.entry.SignedBy, ", "))
	case i.flags.allowUnsigned:
		return "not asked for"
	case i.signature != nil:
		return "not checked: there is no key in " + i.place.at(i.place.config.TrustD)
	}
	return "none, and there is no key in " + i.place.at(i.place.config.TrustD)
}

// ask has a person accept what the module may do.
func (i *installation) ask(c *cobra.Command) error {
	if i.flags.acceptGrants {
		return nil
	}
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !isTTY(in) {
		return usage("%s: asks before it grants this, and there is no terminal; give --accept-grants", where(c))
	}
	fmt.Fprint(i.out, "Accept? [y/N] ")
	answer, err := bufio.NewReader(io.LimitReader(in, 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("module install: not accepted; nothing was changed")
	}
	return nil
}

// isTTY reports whether f is a terminal that can be asked (termios(3)).
func isTTY(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// progress runs f and shows on a terminal that it does, and how long.
func progress(c *cobra.Command, what string, f func(context.Context) error) error {
	w := c.ErrOrStderr()
	if !isTerminal(w) {
		return f(c.Context())
	}
	done := make(chan error, 1)
	go func() { done <- f(c.Context()) }()
	start, tick := time.Now(), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			fmt.Fprintf(w, "\r\x1b[K")
			return err
		case <-tick.C:
			fmt.Fprintf(w, "\r%s … %.1f s", what, time.Since(start).Seconds())
		}
	}
}
