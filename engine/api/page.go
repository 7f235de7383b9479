// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// page is a part of a list.
type page[T any] struct {
	Items []T `json:"items"`
	// Next, if not empty, asks for what follows, as the parameter page-token.
	Next string `json:"nextPageToken,omitempty"`
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// pageOf takes the part of a list that a request asks for. key names an item among the others.
func pageOf[T any](r *http.Request, all []T, key func(T) string) (page[T], error) {
	q, err := query(r, "limit", "page-token")
	if err != nil {
		return page[T]{}, err
	}
	limit := defaultLimit
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxLimit {
			return page[T]{}, Problemf(http.StatusBadRequest, codeInvalid, "limit %.20q is not a number from 1 to %d", text, maxLimit)
		}
	}
	if token := q.Get("page-token"); token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		i := slices.IndexFunc(all, func(item T) bool { return key(item) == string(last) })
		if err != nil || i < 0 {
			return page[T]{}, Problemf(http.StatusBadRequest, codeInvalid, "the page token is not valid, or not any more: begin without one")
		}
		all = all[i+1:]
	}
	p := page[T]{Items: all[:min(limit, len(all))]}
	if len(all) > limit {
		p.Next = base64.RawURLEncoding.EncodeToString([]byte(key(all[limit-1])))
	}
	return p, nil
}

// query returns the parameters of a request, of which there may be no others than the named ones, each once.
func query(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Problemf(http.StatusBadRequest, codeInvalid, "the query cannot be read")
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return nil, Problemf(http.StatusBadRequest, codeInvalid, "parameter %.40q is not known here: %s", name, orNone(known))
		}
		if len(values) > 1 {
			return nil, Problemf(http.StatusBadRequest, codeInvalid, "parameter %s is given %d times", name, len(values))
		}
	}
	return q, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "there are none"
	}
	return "there are " + strings.Join(names, ", ")
}
