// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
)

// containerInfo is the record of a container.
type containerInfo struct {
	host.ContainerRecord
	// Gone says that the bundle is no more, so that nobody will delete the
	// container by its name.
	Gone bool `json:"gone"`
}

// took is the time that the create took, for people.
func (r *containerInfo) took() string {
	return (time.Duration(r.TookMicros) * time.Microsecond).Round(10 * time.Microsecond).String()
}

// given counts what the container was given.
func (r *containerInfo) given() string {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(r.Edits)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, r.Edits[kind]))
	}
	if len(kinds) == 0 {
		return "nothing"
	}
	return strings.Join(kinds, ", ")
}

// readContainers reads the records, those of the newest containers first. One that
// another version of tenon wrote, and this one cannot read, is left out.
func readContainers() ([]*containerInfo, error) {
	records, err := host.Containers(host.StateFolder(os.Environ()))
	if err != nil {
		return nil, err
	}
	list := []*containerInfo{}
	for id, data := range records {
		r := &containerInfo{}
		if err := json.Unmarshal(data, &r.ContainerRecord); err != nil || r.ID != id {
			continue
		}
		_, err := os.Stat(r.Config)
		r.Gone = errors.Is(err, fs.ErrNotExist)
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *containerInfo) int {
		if n := b.Created.Compare(a.Created); n != 0 {
			return n
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// findContainer finds a record by the name of the container, or by the beginning
// of the name if no other has it; nil where there is none.
func findContainer(name string) (*containerInfo, error) {
	all, err := readContainers()
	if err != nil {
		return nil, err
	}
	var found []*containerInfo
	for _, r := range all {
		if r.ID == name {
			return r, nil
		}
		if strings.HasPrefix(r.ID, name) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("container %s: is the beginning of %d names; write more of it", host.Shown(name), len(found))
}

// containerNames completes the names of containers that have a record.
func containerNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, _ := readContainers()
	var names []string
	for _, r := range all {
		names = append(names, r.ID)
	}
	return names, cobra.ShellCompDirectiveDefault
}

func psCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ps",
		Short: "List the containers that modes were asked for",
		Long: `List the containers that modes were asked for when they were created, the newest
first, until they are deleted: which modes, how many of them were answered by a
trace, what was given, and how long it took. The last 256 are kept. Containers that
ask for nothing are not among them.

Exit code 3 where there is none.`,
		Example: "  tenon ps\n  tenon ps --format json",
		Args:    noArgs,
	}
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		all, err := readContainers()
		if err != nil {
			return err
		}
		if *f == "json" {
			err = printJSON(c.OutOrStdout(), all)
		} else if len(all) > 0 {
			err = printContainers(c, all)
		}
		if err == nil && len(all) == 0 {
			err = exitError{exitNothing, errors.New("containers: there is none that a mode was asked for")}
		}
		return err
	}
	return c
}

func printContainers(c *cobra.Command, all []*containerInfo) error {
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CONTAINER\tCREATED\tMODES\tTRACE\tTOOK\tGIVEN")
	for _, r := range all {
		var modes, traces []string
		for _, m := range r.Modes {
			modes = append(modes, m.Mode)
			traces = append(traces, map[bool]string{true: "hit", false: "miss"}[m.Hit])
		}
		given := r.given()
		if r.Gone {
			given += " (its bundle is gone)"
		}
		const idLength = 24 // as much as tells containers apart at a glance
		id := r.ID[:min(len(r.ID), idLength)]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(id), r.Created.UTC().Format("2006-01-02 15:04:05"),
			printable(strings.Join(modes, ",")), strings.Join(traces, ","), r.took(), printable(given))
	}
	return w.Flush()
}
