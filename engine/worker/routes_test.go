// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"gopkg.in/yaml.v3"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// described is what openapi.yaml says of an operation.
type described struct {
	Security  []map[string][]string `yaml:"security"`
	Summary   string                `yaml:"summary"`
	Responses map[string]any        `yaml:"responses"`
}

func TestEveryRouteIsDescribedWithItsRoleAndNothingElseIs(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("described")
	stream.From(p, "in", codec.String, codec.String).To("out")
	topology, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Options{Config: config.Default(), Topology: topology, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.api()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]described `yaml:"paths"`
	}
	if err := yaml.Unmarshal(api.Specification, &doc); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Routes() {
		method, path, _ := strings.Cut(r.Pattern, " ")
		method = strings.ToLower(method)
		d, ok := doc.Paths[path][method]
		if !ok {
			t.Errorf("%s is not described: add it to engine/api/openapi.yaml", r.Pattern)
			continue
		}
		delete(doc.Paths[path], method)
		if d.Summary == "" || len(d.Responses) == 0 {
			t.Errorf("%s has no summary, or no responses", r.Pattern)
		}
		var roles []string
		for _, requirement := range d.Security {
			for _, names := range requirement {
				roles = append(roles, names...)
			}
		}
		slices.Sort(roles)
		roles = slices.Compact(roles)
		var want []string
		if r.Role != "" {
			want = []string{string(r.Role)}
		}
		if r.Peers && r.Role != api.Viewer {
			want = append(want, string(api.Peer))
		}
		slices.Sort(want)
		if !slices.Equal(roles, want) {
			t.Errorf("%s is for %q, and described as for %q", r.Pattern, want, roles)
		}
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			t.Errorf("%s %s is described, and there is no such route", method, path)
		}
	}
}
