// SPDX-License-Identifier: Apache-2.0

package operators_test

import (
	"errors"
	"testing"

	"github.com/streamd/streamd/operators"
)

func TestEmissionKeepsNullApartFromEmpty(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		emission   operators.Emission
		key, value string
		nullKey    bool
		nullValue  bool
	}{
		"key and value": {emission: operators.Emission{Buf: []byte("kv"), KeyLen: 1}, key: "k", value: "v"},
		"empty key":     {emission: operators.Emission{Buf: []byte("v")}, value: "v"},
		"null key":      {emission: operators.Emission{Buf: []byte("v"), KeyLen: -1}, value: "v", nullKey: true},
		"empty value":   {emission: operators.Emission{Buf: []byte("k"), KeyLen: 1}, key: "k"},
		"null value":    {emission: operators.Emission{Buf: []byte("k"), KeyLen: 1, NullValue: true}, key: "k", nullValue: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, v := c.emission.Key(), c.emission.Value()
			if string(k) != c.key || string(v) != c.value || (k == nil) != c.nullKey || (v == nil) != c.nullValue {
				t.Fatalf("key %v, value %v", k, v)
			}
		})
	}
}

func TestErrorsNameStepAndPosition(t *testing.T) {
	t.Parallel()
	cause := errors.New("no stock")
	ctx := &operators.Context{Node: "reserve"}
	between := operators.NewUserError(ctx, cause)
	ctx.Record = &operators.Record{Topic: "orders", Partition: 3, Offset: 7, Value: []byte("secret")}
	onRecord := operators.NewUserError(ctx, cause)
	decode := &operators.DecodeError{Step: "from:orders", Part: operators.PartKey, Codec: "int64",
		Topic: "orders", Partition: 3, Offset: 7, Err: cause}
	for _, c := range []struct {
		err  error
		want string
	}{
		{between, `step "reserve" between records: no stock`},
		{onRecord, `step "reserve" on record orders/3 offset 7: no stock`},
		{decode, `step "from:orders" on record orders/3 offset 7: decode key as int64: no stock`},
	} {
		if c.err.Error() != c.want || !errors.Is(c.err, cause) {
			t.Errorf("found %q, want %q", c.err, c.want)
		}
	}
}
