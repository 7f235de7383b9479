// SPDX-License-Identifier: Apache-2.0

package query

import (
	"net/http"

	"github.com/streamd/streamd/engine/api"
)

// Register adds the routes of queries to the API.
func (s *Service) Register(server *api.Server) {
	server.Handle(api.Route{Pattern: "GET " + Path, Role: api.Viewer, Handle: s.serveStores})
	server.Handle(api.Route{Pattern: "GET " + Path + "/{store}/keys", Role: api.Operator, Peers: true, Bounded: true, Handle: s.serve})
	server.Handle(api.Route{Pattern: "GET " + Path + "/{store}/keys/{key}", Role: api.Operator, Peers: true, Bounded: true, Handle: s.serve})
}

func (s *Service) serveStores(w http.ResponseWriter, r *http.Request) error {
	return api.WriteJSON(w, r, map[string]any{"stores": s.Stores()})
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) error {
	params := r.URL.Query()
	key, hasKey := r.PathValue("key"), params.Has("key")
	if hasKey {
		key = params.Get("key")
	}
	q, err := s.catalog.parse(r.PathValue("store"), key, hasKey || key != "", params)
	if err != nil {
		return err
	}
	a, err := s.answer(r.Context(), q, r.Header.Get(forwardedHeader) != "")
	if err != nil {
		return err
	}
	doc, err := a.document(q)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, r, doc)
}
