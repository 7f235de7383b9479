// SPDX-License-Identifier: Apache-2.0

package api

import (
	_ "embed"
	"encoding/json/v2"
	"net/http"
	"sync"

	"gopkg.in/yaml.v3"
)

// Specification is the OpenAPI document, as YAML.
//
//go:embed openapi.yaml
var Specification []byte

// specificationJSON is the same as JSON.
var specificationJSON = sync.OnceValues(func() ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(Specification, &doc); err != nil {
		return nil, err
	}
	return json.Marshal(doc, json.Deterministic(true))
})

// describe adds the route that gives the document out.
func (s *Server) describe() {
	s.Handle(Route{Pattern: "GET /api/v1/openapi.json", Role: Viewer, Handle: func(w http.ResponseWriter, r *http.Request) error {
		doc, err := specificationJSON()
		if err != nil {
			return err
		}
		return write(w, r, "application/json", doc)
	}})
}
