// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
)

// AcceptMounts is the key of a mode's own table with which the administrator lets
// mounts ask: true or false, and false where it is absent.
const AcceptMounts = "accept_volume_mounts"

// request finds one by its name. What the administrator has not accepted of it is
// left out.
func (r *Rights) request(name string) (RequestGrant, bool) {
	find := func(g *Grants) int {
		return slices.IndexFunc(g.Requests, func(r RequestGrant) bool { return r.Name == name })
	}
	own, accepted := find(&r.manifest), find(&r.accepted)
	if own < 0 || accepted < 0 {
		return RequestGrant{}, false
	}
	a, b := &r.manifest.Requests[own], &r.accepted.Requests[accepted]
	return RequestGrant{name, inBoth(a.Env, b.Env), inBoth(a.Annotations, b.Annotations), inBoth(a.MountsUnder, b.MountsUnder)}, true
}

// inBoth are the elements of a, in their order, that b has too.
func inBoth(a, b []string) []string {
	if slices.Equal(a, b) {
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// devices returns what the container of req asks of a mode by one request of its
// module. An error begins with the place; the container is at fault.
func (r *Rights) devices(c *Config, mode string, req *discover.Request, name string) (discover.Devices, error) {
	g, _ := r.request(name)
	places := discover.Places{MountsUnder: g.MountsUnder, Annotations: g.Annotations, Env: g.Env}
	if !c.countsImage(req) {
		places.Annotations, places.Env = nil, nil
	}
	if c.ModeTables[mode][AcceptMounts] != "true" {
		places.MountsUnder = nil
	} else {
		for _, other := range r.manifest.Requests {
			if other.Name != name {
				places.Apart = append(places.Apart, other.MountsUnder...)
			}
		}
	}
	return req.Devices(places)
}

// countsImage reports whether what an image can say by itself counts as a request:
// a variable, and an annotation, which Podman takes over from the image
// (pkg/specgen/generate, CompleteSpec) as the image-spec's conversion.md has it.
func (c *Config) countsImage(req *discover.Request) bool {
	return c.AcceptEnvWhenUnprivileged || req.Privileged()
}

// asks reports whether the container asks for anything by one of the requests, and
// refuses one of which a list is malformed.
func (r *Rights) asks(c *Config, mode string, req *discover.Request) (some bool, err error) {
	for i := range r.manifest.Requests {
		d, err := r.devices(c, mode, req, r.manifest.Requests[i].Name)
		if err != nil {
			return false, err
		}
		some = some || len(d.IDs) > 0
	}
	return some, nil
}

// asked answers the query request: the place, and then the ids.
func (r *Run) asked(q question) ([]byte, int32) {
	d, err := r.rights.devices(&r.config, r.mode, r.request, q.key)
	if err != nil {
		return nil, CodeInvalid // a create has been refused before
	}
	if len(d.IDs) == 0 {
		return nil, CodeNotFound
	}
	answer := append([]byte(d.Place), 0)
	for _, id := range d.IDs {
		answer = append(append(answer, id...), 0)
	}
	return answer, CodeOK
}

// Asking is what a container asks of a mode by one request of its module.
type Asking struct {
	Request string   `json:"request,omitempty"` // its name in the manifest
	Place   string   `json:"place"`             // as PlaceInWords takes it
	IDs     []string `json:"ids"`               // none where it asks for nothing, by void
}

// Askings returns what the container of req asks of a mode, and in lines of words
// what there is of it that does not count, and why. Errors begin with "mode NAME: ".
func (c *Config) Askings(mode string, req *discover.Request) (list []Asking, uncounted []string, err error) {
	m, err := c.module(mode)
	if err != nil {
		return nil, nil, fmt.Errorf("mode %s: %w", mode, err)
	}
	for _, r := range m.manifest.Requests {
		d, err := m.rights.devices(c, mode, req, r.Name)
		if err != nil {
			return nil, nil, fmt.Errorf("mode %s: %w", mode, err)
		}
		if d.Place != "" {
			list = append(list, Asking{r.Name, d.Place, append([]string{}, d.IDs...)})
		}
		uncounted = append(uncounted, c.uncounted(mode, &m.rights, req, r)...)
	}
	return list, uncounted, nil
}

const notAccepted = " does not count, since the administrator has not accepted it for this module"

// uncounted are the places of a request at which policy lets nothing count.
func (c *Config) uncounted(mode string, rights *Rights, req *discover.Request, r RequestGrant) (lines []string) {
	asks := func(p discover.Places) (string, bool) {
		d, err := req.Devices(p)
		return PlaceInWords(d.Place), err != nil || len(d.IDs) > 0
	}
	accepted, _ := rights.request(r.Name)
	for _, name := range r.Env {
		if place, ok := asks(discover.Places{Env: []string{name}}); ok && !slices.Contains(accepted.Env, name) {
			lines = append(lines, place+notAccepted)
		}
	}
	for _, key := range r.Annotations {
		if place, ok := asks(discover.Places{Annotations: []string{key}}); ok && !slices.Contains(accepted.Annotations, key) {
			lines = append(lines, place+notAccepted)
		}
	}
	r = accepted
	if !c.countsImage(req) {
		if place, ok := asks(discover.Places{Annotations: r.Annotations, Env: r.Env}); ok {
			lines = append(lines, place+" does not count, since the container is not privileged and accept_env_when_unprivileged is false")
		}
	}
	if c.ModeTables[mode][AcceptMounts] != "true" {
		if place, ok := asks(discover.Places{MountsUnder: r.MountsUnder}); ok {
			lines = append(lines, fmt.Sprintf("%s do not count, since %s in [modes.%s] is not true", place, AcceptMounts, mode))
		}
	}
	return lines
}

// PlaceInWords says what the place is that an answer of the query request begins
// with.
func PlaceInWords(place string) string {
	key, annotation := strings.CutPrefix(place, "annotation ")
	switch {
	case annotation:
		return "the annotation " + Shown(key)
	case strings.HasPrefix(place, "/"):
		return "mounts below " + Shown(place)
	}
	return "the variable " + Shown(place)
}
