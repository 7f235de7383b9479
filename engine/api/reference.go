// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// specification is what a page of reference needs of the OpenAPI document.
type specification struct {
	Tags []struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
	} `yaml:"tags"`
	Paths      map[string]map[string]specified `yaml:"paths"`
	Components struct {
		Parameters map[string]parameter `yaml:"parameters"`
		Schemas    map[string]schema    `yaml:"schemas"`
	} `yaml:"components"`
}

type specified struct {
	Tags        []string              `yaml:"tags"`
	Summary     string                `yaml:"summary"`
	Description string                `yaml:"description"`
	Security    []map[string][]string `yaml:"security"`
	Parameters  []parameter           `yaml:"parameters"`
	Request     content               `yaml:"requestBody"`
	Responses   map[string]content    `yaml:"responses"`
}

type parameter struct {
	Ref         string `yaml:"$ref"`
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
}

type content struct {
	Content map[string]struct {
		Schema schema `yaml:"schema"`
	} `yaml:"content"`
}

type schema struct {
	Ref         string            `yaml:"$ref"`
	Type        string            `yaml:"type"`
	Enum        []string          `yaml:"enum"`
	Description string            `yaml:"description"`
	Required    []string          `yaml:"required"`
	Properties  map[string]schema `yaml:"properties"`
	Items       *schema           `yaml:"items"`
}

// Reference returns docs/reference/http-api.md, which is made of the OpenAPI document.
func Reference() (string, error) {
	var s specification
	if err := yaml.Unmarshal(Specification, &s); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# HTTP API\n\n<!-- Written by: go test ./engine/api -rewrite -->\n\n" +
		"Every worker serves this at `http.address`. The same as OpenAPI 3.1 is at `/api/v1/openapi.json`.\n" +
		"[Secure the API](../how-to/secure-the-api.md) tells who may use what. Errors are problem documents (RFC 9457). Reads have an\n" +
		"ETag, and give 304 to a request whose If-None-Match has it. An answer to a request for a list may be a part of it:\n" +
		"`nextPageToken` then asks for what follows.\n")
	for _, tag := range s.Tags {
		fmt.Fprintf(&b, "\n## Requests: %s\n\n%s\n", tag.Name, tag.Description)
		for _, path := range slices.Sorted(maps.Keys(s.Paths)) {
			for _, method := range slices.Sorted(maps.Keys(s.Paths[path])) {
				if op := s.Paths[path][method]; slices.Contains(op.Tags, tag.Name) {
					s.describe(&b, strings.ToUpper(method)+" "+path, op)
				}
			}
		}
	}
	b.WriteString("\n## What is in the answers\n")
	for _, name := range slices.Sorted(maps.Keys(s.Components.Schemas)) {
		s.Components.Schemas[name].describe(&b, name)
	}
	return b.String(), nil
}

func (s specification) describe(b *strings.Builder, route string, op specified) {
	fmt.Fprintf(b, "\n### `%s`\n\n%s. ", route, op.Summary)
	switch roles := rolesOf(op.Security); len(roles) {
	case 0:
		b.WriteString("For everybody.\n")
	default:
		fmt.Fprintf(b, "For: %s.\n", strings.Join(roles, ", "))
	}
	if op.Description != "" {
		fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(op.Description))
	}
	if len(op.Parameters) > 0 {
		b.WriteString("\n| parameter | means |\n| --- | --- |\n")
	}
	for _, p := range op.Parameters {
		if p.Ref != "" {
			p = s.Components.Parameters[lastOf(p.Ref)]
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", p.Name, p.Description)
	}
	for _, c := range op.Request.Content {
		fmt.Fprintf(b, "\nTakes: %s.\n", c.Schema.text())
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if c, ok := op.Responses[status].Content["application/json"]; ok && c.Schema.Ref != "" {
			fmt.Fprintf(b, "\nGives %s: %s.\n", status, c.Schema.text())
		}
	}
}

// rolesOf returns the roles of the security requirements.
func rolesOf(requirements []map[string][]string) []string {
	var roles []string
	for _, r := range requirements {
		for _, names := range r {
			roles = append(roles, names...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func (s schema) describe(b *strings.Builder, name string) {
	fmt.Fprintf(b, "\n### %s\n\n", name)
	if s.Description != "" {
		fmt.Fprintf(b, "%s\n\n", s.Description)
	}
	b.WriteString("| member | type | means |\n| --- | --- | --- |\n")
	for _, member := range slices.Sorted(maps.Keys(s.Properties)) {
		optional := ""
		if !slices.Contains(s.Required, member) {
			optional = ", may be absent"
		}
		p := s.Properties[member]
		fmt.Fprintf(b, "| `%s` | %s%s | %s |\n", member, p.text(), optional, p.Description)
	}
}

// text names the type of a value.
func (s schema) text() string {
	switch {
	case s.Ref != "":
		name := lastOf(s.Ref)
		return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
	case s.Items != nil:
		return "list of " + s.Items.text()
	case len(s.Enum) > 0:
		return strings.Join(s.Enum, ", ")
	case len(s.Properties) > 0:
		return "object of " + strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", ")
	}
	return s.Type
}

func lastOf(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }
