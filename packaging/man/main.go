// SPDX-License-Identifier: Apache-2.0

// Command man writes the man pages of tenon and of each of its commands, from
// what the program itself says under --help: so no page can differ from the
// program that it is packed with. It is run by packaging/build.sh.
//
//	go run ./packaging/man PROGRAM VERSION DATE FOLDER
//
// PROGRAM is run, FOLDER gets tenon.1, tenon-module.1, tenon-module-install.1 and
// so on. DATE is the date in the pages' footers. The pages of the other programs
// are written by hand and lie beside this file.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 5 {
		fail(errors.New("usage: man PROGRAM VERSION DATE FOLDER"))
	}
	p := pages{program: os.Args[1], footer: []string{os.Args[3], "tenon " + os.Args[2], "Tenon"}, folder: os.Args[4]}
	if err := p.write(nil, "look after tenon-runtime, its configuration and its modules"); err != nil {
		fail(err)
	}
}

func fail(err error) {
	io.WriteString(os.Stderr, "man: "+err.Error()+"\n")
	os.Exit(1)
}

// pages are the pages of a program on their way to a folder.
type pages struct {
	program string
	footer  []string // date, source and manual of .TH, see man(7)
	folder  string
}

// write writes the page of one command, which is said to be for something, and of
// all below it.
func (p pages) write(command []string, what string) error {
	out, err := exec.Command(p.program, append(append([]string{}, command...), "--help")...).Output()
	if err != nil {
		return fmt.Errorf("%s %s --help: %w", p.program, strings.Join(command, " "), err)
	}
	h, err := parse(string(out))
	if err != nil {
		return fmt.Errorf("%s %s --help: %w", p.program, strings.Join(command, " "), err)
	}
	name := strings.Join(append([]string{"tenon"}, command...), "-")
	if err := os.WriteFile(filepath.Join(p.folder, name+".1"), []byte(p.page(command, what, h)), 0o644); err != nil {
		return err
	}
	for _, child := range h.commands {
		if child.name == "help" || child.name == "completion" {
			continue // cobra's own: the help is this page, and packages bring the completions
		}
		if err := p.write(append(append([]string{}, command...), child.name), child.text); err != nil {
			return err
		}
	}
	return nil
}

// A help is what a command says under --help.
type help struct {
	text     []string // the lines before the first heading
	usage    []string
	examples []string
	commands []entry
	flags    []entry // of the command
	global   []entry // of all commands
}

// An entry is one line of a list: a command, or a flag, and what it is for.
type entry struct{ name, text string }

// parse reads the help. Its form is that of cobra's default usage template
// (github.com/spf13/cobra, command.go, defaultUsageTemplate): headings that end
// in a colon and are not indented, with lines indented by two spaces.
func parse(out string) (help, error) {
	var h help
	section := ""
	for line := range strings.SplitSeq(strings.TrimRight(out, "\n"), "\n") {
		switch line {
		case "Usage:", "Examples:", "Available Commands:", "Flags:", "Global Flags:":
			section = line
			continue
		}
		switch {
		case section == "":
			h.text = append(h.text, line)
		case strings.HasPrefix(line, "Use \""), line == "" && section != "Examples:":
		case !strings.HasPrefix(line, "  ") && line != "":
			return h, fmt.Errorf("%q: is no line of %q", line, section)
		case section == "Usage:":
			h.usage = append(h.usage, strings.TrimSpace(line))
		case section == "Examples:":
			h.examples = append(h.examples, strings.TrimPrefix(line, "  "))
		default:
			gap := "   " // of a flag: "-h, --help   help for tenon"
			if section == "Available Commands:" {
				gap = " "
			}
			name, text, ok := strings.Cut(strings.TrimSpace(line), gap)
			if !ok {
				return h, fmt.Errorf("%q: has no text, under %q", line, section)
			}
			e := entry{name, strings.TrimSpace(text)}
			switch section {
			case "Available Commands:":
				h.commands = append(h.commands, e)
			case "Flags:":
				h.flags = append(h.flags, e)
			case "Global Flags:":
				h.global = append(h.global, e)
			}
		}
	}
	if len(h.usage) == 0 || len(h.text) == 0 || len(h.flags) == 0 {
		return h, errors.New("has no text, usage or flags; the form of the help has changed")
	}
	return h, nil
}

// page sets one page in man(7).
func (p pages) page(command []string, what string, h help) string {
	words := append([]string{"tenon"}, command...)
	name := strings.Join(words, "-")
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %q 1", strings.ToUpper(name))
	for _, s := range p.footer {
		fmt.Fprintf(&b, " %q", s)
	}
	fmt.Fprintf(&b, "\n.SH NAME\n%s \\- %s\n", roff(name), roff(strings.ToLower(what[:1])+what[1:]))
	b.WriteString(".SH SYNOPSIS\n.nf\n")
	for _, line := range h.usage {
		fmt.Fprintf(&b, ".B %s\n", roff(line))
	}
	b.WriteString(".fi\n.SH DESCRIPTION\n")
	text(&b, h.text)
	list(&b, "COMMANDS", h.commands)
	list(&b, "OPTIONS", append(h.flags, h.global...))
	if len(h.examples) > 0 {
		b.WriteString(".SH EXAMPLES\n.nf\n")
		for _, line := range h.examples {
			b.WriteString(roff(line) + "\n")
		}
		b.WriteString(".fi\n")
	}
	if len(command) > 0 {
		b.WriteString(`.SH "EXIT STATUS"
0 all is well, 1 it failed, 2 the command line is wrong, 3 nothing found, 4 a check found something wrong.
`)
	}
	var also []string
	if len(command) > 0 {
		also = append(also, strings.Join(words[:len(words)-1], "-")+"(1)")
	}
	for _, child := range h.commands {
		if child.name != "help" && child.name != "completion" {
			also = append(also, name+"-"+child.name+"(1)")
		}
	}
	also = append(also, "tenon-runtime(8)", "tenon-hook(8)")
	fmt.Fprintf(&b, ".SH \"SEE ALSO\"\n%s\n", roff(strings.Join(also, ", ")))
	return b.String()
}

// text sets lines, of which an indented one stays as it is.
func text(b *strings.Builder, lines []string) {
	asIs := false
	for i, line := range lines {
		indented := strings.HasPrefix(line, " ")
		if indented != asIs && line != "" {
			b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[indented])
			asIs = indented
		}
		switch {
		case line != "":
			b.WriteString(roff(line) + "\n")
		case i > 0 && i < len(lines)-1:
			b.WriteString(".PP\n")
		}
	}
	if asIs {
		b.WriteString(".fi\n")
	}
}

func list(b *strings.Builder, heading string, entries []entry) {
	if len(entries) == 0 {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", heading)
	for _, e := range entries {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(e.name), roff(e.text))
	}
}

// roff protects a line from being read as anything but text: groff_char(7) for the
// signs, and man(7) for a dot or an apostrophe at its beginning.
func roff(line string) string {
	line = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`, `…`, `...`).Replace(line)
	if strings.HasPrefix(line, ".") {
		line = `\&` + line
	}
	return line
}
