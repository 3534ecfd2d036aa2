// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tenon-runtime/tenon/ldcache"
)

// Limits of the command line.
const (
	maxArguments = 256  // of one option
	maxArgument  = 4095 // PATH_MAX without its NUL
)

// newFlags returns a flag set that prints nothing.
func newFlags(command string) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

// parseFlags parses arguments of which all are options.
func parseFlags(flags *flag.FlagSet, arguments []string) error {
	if err := flags.Parse(arguments); err != nil {
		return misuse("%s: %w", flags.Name(), err)
	}
	if flags.NArg() > 0 {
		return misuse("%s: %q is not an option", flags.Name(), flags.Arg(0))
	}
	return nil
}

// absolute checks a path of the container in an argument.
func absolute(p string) error {
	if len(p) > maxArgument || !path.IsAbs(p) || path.Clean(p) != p || hasControl(p) {
		return fmt.Errorf("not an absolute and clean path")
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// updateLdcache makes /etc/ld.so.cache of the container. Where it cannot, that
// is an error only with --required: a container whose libraries are found by
// other means starts without.
func updateLdcache(arguments []string, stdin io.Reader) error {
	var options ldcache.Options
	flags := newFlags("update-ldcache")
	required := flags.Bool("required", false, "")
	verbose := flags.Bool("verbose", false, "")
	walk := flags.Bool("walk", false, "") // as on a kernel without openat2; for tests
	flags.Func("folder", "", func(p string) error {
		if len(options.Folders) == maxArguments {
			return fmt.Errorf("more than %d", maxArguments)
		}
		options.Folders = append(options.Folders, p)
		return absolute(p)
	})
	flags.Func("alias", "", func(value string) error {
		key, p, ok := strings.Cut(value, "=")
		if len(options.Aliases) == maxArguments {
			return fmt.Errorf("more than %d", maxArguments)
		}
		if !ok || !ldcache.ValidKey(key) {
			return fmt.Errorf("not KEY=PATH")
		}
		options.Aliases = append(options.Aliases, ldcache.Alias{Key: key, Path: p})
		return absolute(p)
	})
	if err := parseFlags(flags, arguments); err != nil {
		return err
	}
	err := within(patience, func() error {
		c, err := openContainer(stdin)
		if err != nil {
			return err
		}
		defer c.root.Close()
		if *walk {
			c.root.Walk()
		}
		notes, err := c.updateCache(options)
		if *verbose {
			for _, note := range notes {
				fmt.Fprintf(os.Stderr, "tenon-hook: %v\n", note)
			}
		}
		return err
	})
	if err != nil && !*required {
		if *verbose {
			fmt.Fprintf(os.Stderr, "tenon-hook: left as it is: %v\n", err)
		}
		return nil
	}
	return err
}

// updateCache writes the file by which the container's loader finds libraries:
// glibc's cache, or musl's list of folders. Without a loader there is nothing to
// do. The notes say what of the image was left out.
func (c *container) updateCache(options ldcache.Options) (notes []error, err error) {
	if !c.root.HasLoader() {
		for _, arch := range c.root.Musl() {
			if err := c.updateMusl(arch, options.Folders); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	looked := time.Now()
	survey, err := ldcache.Look(c.root, options)
	if err != nil {
		return nil, err
	}
	present, err := c.root.ReadFile("/etc/ld.so.cache", ldcache.MaxSize)
	if err == nil && survey.Current(present, looked) {
		return survey.Notes(), nil
	}
	data, err := survey.Encode(survey.Generate(), looked)
	if err == nil {
		if err = ldcache.Check(data); err != nil {
			return nil, &failure{exitBug, fmt.Errorf("%w; this is a bug of tenon, please report", err)}
		}
		err = c.replaceInEtc("ld.so.cache", data)
	}
	return survey.Notes(), err
}

// musl's loader reads folders from /etc/ld-musl-ARCH.path, divided by newlines
// or colons, and these where there is no such file (ldso/dynlink.c).
const muslFolders = "/lib:/usr/local/lib:/usr/lib"

const maxMuslPath = 64 << 10

// updateMusl adds folders at the end of what musl's loader searches.
func (c *container) updateMusl(arch string, folders []string) error {
	name := "ld-musl-" + arch + ".path"
	old, err := c.root.ReadFile("/etc/"+name, maxMuslPath)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = []byte(muslFolders), nil
	}
	if err != nil {
		return fmt.Errorf("/etc/%s of the container: %w", name, err)
	}
	there := strings.FieldsFunc(string(old), func(r rune) bool { return r == '\n' || r == ':' })
	added := false
	for _, folder := range folders {
		if !slices.Contains(there, folder) && !strings.Contains(folder, ":") {
			there, added = append(there, folder), true
		}
	}
	if !added {
		return nil
	}
	return c.replaceInEtc(name, []byte(strings.Join(there, "\n")+"\n"))
}
