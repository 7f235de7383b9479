// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"reflect"
	"time"

	"github.com/streamd/streamd/operators/codec"
)

// snapshots returns what copies a value through its codec, or nil if an assignment does. Aggregates are changed in place;
// where the value before is still needed, the change is made to a copy.
func snapshots[V any](c codec.Codec[V]) func(V) (V, error) {
	if !shares(reflect.TypeFor[V]()) {
		return nil
	}
	return copier(c)
}

// shares says whether two variables of a type can share memory that one of them changes.
func shares(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return shares(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return false
		}
		for f := range t.Fields() {
			if shares(f.Type) {
				return true
			}
		}
		return false
	case reflect.String:
		return false
	default:
		return t.Kind() < reflect.Bool || t.Kind() > reflect.Complex128
	}
}
