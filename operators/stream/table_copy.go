// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"reflect"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/statestore"
)

// snapshots returns what copies a value through its codec, or nil if an assignment does. Aggregates are changed in place;
// where the value before is still needed, the change is made to a copy.
func snapshots[V any](c codec.Codec[V]) func(V) (V, error) {
	if !statestore.SharesMemory(reflect.TypeFor[V]()) {
		return nil
	}
	return copier(c)
}

// copier returns what copies a value through its codec.
func copier[V any](c codec.Codec[V]) func(V) (V, error) {
	var buf []byte
	return func(v V) (V, error) {
		var err error
		if buf, err = c.Append(buf[:0], v); err != nil {
			return v, fmt.Errorf("encode value as %s: %w", c.ID(), err)
		}
		if v, err = c.Decode(buf); err != nil {
			return v, fmt.Errorf("decode value as %s: %w", c.ID(), err)
		}
		return v, nil
	}
}
